"""Ports, waiting, and a client that reads exact bytes."""

import errno
import os
import random
import signal
import socket
import struct
import time

HOST = "127.0.0.1"
_given = set()


def free_port():
    """A TCP port that nobody uses.  Below the range from which the kernel
    takes ports for outgoing connections, so that it stays free until a test
    binds it, and free again after a server on it was killed."""
    while True:
        port = random.randrange(16000, 32000)
        if port in _given:
            continue
        with socket.socket() as s:
            try:
                s.bind((HOST, port))
            except OSError:
                continue
        _given.add(port)
        return port


def is_refused(port):
    """True where nobody listens on PORT."""
    try:
        socket.create_connection((HOST, port), 5).close()
    except OSError as e:
        return e.errno == errno.ECONNREFUSED
    return False


def wait_for(predicate, timeout=10, what=None):
    """Poll until PREDICATE gives something true, and return that."""
    end = time.monotonic() + timeout
    while True:
        got = predicate()
        if got:
            return got
        if time.monotonic() > end:
            raise AssertionError("waited %gs for %s, last saw %r" % (
                timeout, what or getattr(predicate, "__name__", predicate),
                got))
        time.sleep(0.002)


def freeze(pid):
    """Stop PID as a debugger would; back when all its threads stand."""
    def state():
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0]
    os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: state() == "T", what="SIGSTOP")


def thaw(pid):
    os.kill(pid, signal.SIGCONT)


def fill_backlog(port):
    """Connect to PORT, where nobody accepts, until connecting hangs; returns
    the sockets to keep."""
    fillers = []
    while True:
        s = socket.socket()
        s.settimeout(0.2)
        fillers.append(s)
        try:
            s.connect((HOST, port))
        except socket.timeout:
            return fillers


class Closed(AssertionError):
    """The other side closed before what was awaited came."""


class Client:
    """A raw connection.  What was read too far is kept for the next call."""

    def __init__(self, port, rcvbuf=None, timeout=20):
        self.sock = socket.socket()
        if rcvbuf:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.sock.settimeout(timeout)
        self.sock.connect((HOST, port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buf = bytearray()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self.sock.close()

    def reset(self):
        """Close with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                             struct.pack("ii", 1, 0))
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def send_some(self, data):
        """Send what goes without waiting; returns how much that was."""
        sent = 0
        self.sock.setblocking(False)
        try:
            while sent < len(data):
                sent += self.sock.send(data[sent:sent + 65536])
        except BlockingIOError:
            pass
        self.sock.settimeout(20)
        return sent

    def send_to_closing(self, data):
        """Send to a peer that may close before it has taken it all."""
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def shut_write(self):
        self.sock.shutdown(socket.SHUT_WR)

    def _fill(self):
        try:
            data = self.sock.recv(262144)
        except socket.timeout:
            raise AssertionError("no more came after %r" %
                                 bytes(self.buf[-200:])) from None
        if not data:
            raise Closed("closed after %r" % bytes(self.buf[-200:]))
        self.buf += data

    def _take(self, n):
        data = bytes(self.buf[:n])
        del self.buf[:n]
        return data

    def recv_exactly(self, n):
        while len(self.buf) < n:
            self._fill()
        return self._take(n)

    def recv_until(self, end):
        seen = 0
        while True:
            at = self.buf.find(end, seen)
            if at >= 0:
                return self._take(at + len(end))
            seen = max(0, len(self.buf) - len(end) + 1)
            self._fill()

    def recv_line(self):
        return self.recv_until(b"\r\n")

    def recv_values(self):
        """What a get brings, up to END or an error line: a list of
        (key, flags, value), and that last line."""
        values = []
        while True:
            line = self.recv_line()
            if not line.startswith(b"VALUE "):
                return values, line
            words = line.split()
            body = self.recv_exactly(int(words[3]) + 2)
            assert body.endswith(b"\r\n"), body[-20:]
            values.append((words[1], int(words[2]), body[:-2]))

    def expect(self, want):
        """Read exactly WANT."""
        try:
            got = self.recv_exactly(len(want))
        except AssertionError as e:
            raise type(e)("wanted %r: %s" % (want[:300], e)) from None
        assert got == want, (got[:300], want[:300])

    def ask(self, data, want):
        self.send(data)
        self.expect(want)

    def ask_line(self, data):
        self.send(data)
        return self.recv_line()

    def eof(self):
        """Read until the peer closes; what came before that."""
        try:
            while True:
                self._fill()
        except (Closed, ConnectionResetError):
            return self._take(len(self.buf))

    def n_unread(self):
        """How many bytes are here now, unread."""
        before = -1
        self.sock.setblocking(False)
        try:
            while len(self.buf) > before:
                before = len(self.buf)
                self.buf += self.sock.recv(65536)
        except BlockingIOError:
            pass
        self.sock.settimeout(20)
        return len(self.buf)

    def is_quiet(self):
        return self.n_unread() == 0
