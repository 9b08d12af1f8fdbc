"""A backend that does what a script says, byte for byte.

By default it is a small memcached: it greets, gets and sets.  A script is
called with every request (never with the greeting) and returns the bytes to
send, b"" for none, or None to leave the request to the default.  It runs in
the thread of its connection, which reads nothing while the script waits, and
may use the connection: send, send_cut, close, reset.
"""

import socket
import struct
import threading

from harness.net import HOST, fill_backlog, free_port

META, TEXT = "meta", "text"
_STORES = (b"set", b"add", b"replace", b"append", b"prepend", b"cas")
_YES = {b"delete": b"DELETED", b"touch": b"TOUCHED", b"flush_all": b"OK",
        b"incr": b"1", b"decr": b"1"}


class Request:
    """One request as it came: words of its line, its body."""

    def __init__(self, conn, line, body):
        self.conn = conn
        self.line = line
        self.words = line.split()
        self.body = body
        self.cmd = self.words[0]
        self.key = self.words[1] if len(self.words) > 1 else b""
        if self.cmd in (b"gat", b"gats"):
            self.key = self.words[2]
        self.meta = self.cmd in (b"mg", b"ms", b"md", b"ma")
        self.flags = self.words[3 if self.cmd == b"ms" else 2:] \
            if self.meta else []

    @property
    def opaque(self):
        for f in self.flags:
            if f[:1] == b"O":
                return f[1:]
        return None

    def is_read(self):
        if self.cmd == b"mg":
            return True
        return self.cmd in (b"get", b"gets", b"gat", b"gats")

    def is_store(self):
        return self.body is not None

    def _back(self, opaque=None, flags=0):
        """The flags that come back, in the request's order."""
        back = b""
        for f in self.flags:
            if f == b"f":
                back += b" f%d" % flags
            elif f == b"c":
                back += b" c7"
            elif f == b"k":
                back += b" k" + self.key
            elif f == b"t":
                back += b" t-1"
            elif f[:1] == b"O":
                back += b" O" + (opaque if opaque is not None else f[1:])
        return back

    def hit(self, value, flags=0, opaque=None, key=None, end=True):
        """VALUE.  OPAQUE, KEY and END are for replies that lie."""
        if self.meta:
            if b"v" not in self.flags:
                return b"HD" + self._back(opaque, flags) + b"\r\n"
            return b"VA %d%s\r\n%s\r\n" % (
                len(value), self._back(opaque, flags), value)
        cas = b" 7" if self.cmd in (b"gets", b"gats") else b""
        return b"VALUE %s %d %d%s\r\n%s\r\n%s" % (
            key or self.key, flags, len(value), cas, value,
            b"END\r\n" if end else b"")

    def miss(self):
        return b"EN\r\n" if self.meta else b"END\r\n"

    def yes(self, opaque=None):
        """What a write that did it says."""
        if self.cmd == b"ma":
            return self.hit(b"1", opaque=opaque)
        if self.meta:
            return b"HD" + self._back(opaque) + b"\r\n"
        return _YES.get(self.cmd, b"STORED") + b"\r\n"


class Conn:
    """A connection that the proxy made."""

    def __init__(self, fake, sock, number):
        self.fake = fake
        self.sock = sock
        self.number = number
        self.gone = threading.Event()	# the proxy has closed it
        self.buf = b""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.thread = threading.Thread(target=self._run, daemon=True)

    def send(self, data):
        self.sock.sendall(data)

    def send_cut(self, data, cuts, between):
        """Send DATA in pieces that end at CUTS, BETWEEN() after each."""
        at = 0
        for cut in list(cuts) + [len(data)]:
            self.send(data[at:cut])
            if cut < len(data):
                between()
            at = cut

    def close(self):
        # shutdown also ends a recv that another thread waits in.
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                             struct.pack("ii", 1, 0))
        self.sock.close()

    def _more(self):
        try:
            data = self.sock.recv(262144)
        except OSError:
            data = b""
        if not data:
            self.gone.set()
            raise EOFError
        self.buf += data

    def _line(self):
        while b"\n" not in self.buf:
            self._more()
        line, self.buf = self.buf.split(b"\n", 1)
        return line.rstrip(b"\r")

    def _body(self, n):
        parts, have = [self.buf], len(self.buf)
        while have < n + 2:
            self.buf = b""
            self._more()
            parts.append(self.buf)
            have += len(self.buf)
        data = b"".join(parts)
        self.buf = data[n + 2:]
        assert data[n:n + 2] == b"\r\n", "body without its CRLF"
        return data[:n]

    def _read(self):
        line = self._line()
        words = line.split() or [b""]
        size = None
        if words[0] == b"ms":
            size = int(words[2].lstrip(b"S"))
        elif words[0] in _STORES:
            size = int(words[4])
        if size is not None and self.fake.on_store_line:
            early = self.fake.on_store_line(self, line)
            if early is not None:
                self.send(early)
        return Request(self, line, None if size is None else self._body(size))

    def _run(self):
        try:
            if self.fake.on_accept:
                self.fake.on_accept(self)
            while True:
                req = self._read()
                if req.line in (b"version", b"mn"):
                    self.send(self.fake.greeting(req.line))
                    continue
                self.fake.requests.append(req)
                self.fake.serve(self, req)
        except (EOFError, OSError):
            self.gone.set()
        except BaseException as e:
            self.fake.errors.append(e)
            self.close()


class FakeBackend:
    def __init__(self, dialect=META, script=None, rcvbuf=None,
                 on_accept=None, on_store_line=None, host=HOST, port=None):
        self.dialect = dialect
        self.script = script
        self.on_accept = on_accept
        self.on_store_line = on_store_line
        self.store = {}
        self.requests = []	# in the order in which they came
        self.conns = []
        self.errors = []
        self.port = port or free_port()
        self.name = "%s:%d" % (host, self.port)
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if rcvbuf:
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF,
                                     rcvbuf)
        self.listener.bind((host, self.port))
        self.listener.listen(128)
        self.deaf = False
        self.fillers = []
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            if self.deaf:
                self.fillers.append(sock)
                return
            conn = Conn(self, sock, len(self.conns))
            self.conns.append(conn)
            conn.thread.start()

    def deafen(self):
        """Accept nobody from now on: connecting hangs."""
        self.deaf = True
        self.listener.listen(0)
        self.fillers.append(socket.create_connection((HOST, self.port)))
        self.thread.join()
        self.fillers += fill_backlog(self.port)

    def greeting(self, line):
        if line == b"mn":
            return b"MN\r\n" if self.dialect == META else b"ERROR\r\n"
        return b"VERSION 1.6.18\r\n" if self.dialect == META \
            else b"VERSION 1.4.15\r\n"

    def serve(self, conn, req):
        reply = self.script(conn, req) if self.script else None
        if reply is None:
            reply = self.default(req)
        if reply:
            conn.send(reply)

    def default(self, req):
        if req.is_read():
            if req.key in self.store:
                return req.hit(self.store[req.key])
            return req.miss()
        if req.is_store():
            self.store[req.key] = req.body
        elif req.cmd in (b"md", b"delete"):
            self.store.pop(req.key, None)
        return req.yes()

    def key(self, client):
        """A key that lives here, found by asking for some through CLIENT
        while the script is the default."""
        for i in range(1000):
            key = b"home%d" % i
            client.send(b"get %s\r\n" % key)
            client.recv_values()
            if self.seen(key):
                return key
        raise AssertionError("no key of 1000 lives at " + self.name)

    def seen(self, key):
        """How often a request for KEY came."""
        return sum(r.key == key for r in list(self.requests))

    def __enter__(self):
        return self

    def stop(self):
        """Refuse connections from now on, close those that are here."""
        try:
            # Wakes the accept; close alone would leave it waiting.
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        self.thread.join()
        for conn in self.conns + self.fillers:
            conn.close()

    def __exit__(self, exc_type, *exc):
        self.stop()
        if exc_type is None:
            assert not self.errors, self.errors
