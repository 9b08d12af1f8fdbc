"""A TCP link to a server that can be cut, stalled, slowed and mended."""

import socket
import struct
import threading
import time

from harness.net import HOST, free_port

WHOLE, STALLED, CUT = "whole", "stalled", "cut"


class _Wire:
    """One connection through the relay, a thread each way."""

    def __init__(self, relay, near):
        self.relay = relay
        self.near = near
        self.far = None
        self.ended = False
        threading.Thread(target=self._begin, daemon=True).start()

    def _begin(self):
        try:
            self.relay.wait_whole()
            self.far = socket.create_connection((HOST, self.relay.to.port))
            for s in (self.near, self.far):
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            self.end()
            return
        threading.Thread(target=self._pump, args=(self.far, self.near),
                         daemon=True).start()
        self._pump(self.near, self.far)

    def _pump(self, source, sink):
        try:
            while True:
                self.relay.wait_whole()
                data = source.recv(65536)
                if not data:
                    break
                if self.relay.delay:
                    time.sleep(self.relay.delay)
                # What was read while the link broke waits, or is lost.
                self.relay.wait_whole()
                sink.sendall(data)
        except OSError:
            pass
        self.end()

    def end(self):
        """Reset both sides."""
        if self.ended:
            return
        self.ended = True
        for s in (self.near, self.far):
            if s is None:
                continue
            try:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                             struct.pack("ii", 1, 0))
                # Also ends a recv in which another thread waits.
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            s.close()


class Relay:
    """A port from which all goes to TO, which has a port.  DELAY is how many
    seconds every piece is held."""

    def __init__(self, to, delay=0):
        self.to = to
        self.delay = delay
        self.port = free_port()
        self.name = "%s:%d" % (HOST, self.port)
        self.state = STALLED
        self.changed = threading.Condition()
        self.wires = []
        self.listener = None
        self.mend()

    def _set(self, state):
        with self.changed:
            self.state = state
            self.changed.notify_all()

    def wait_whole(self):
        """Until bytes may pass; an error where they never will."""
        with self.changed:
            while self.state == STALLED:
                self.changed.wait()
            if self.state == CUT:
                raise OSError("the link is cut")

    def _accept(self, listener):
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            self.wires.append(_Wire(self, near))

    def cut(self):
        """Reset all connections, lose what is under way, refuse new ones."""
        self._set(CUT)
        if self.listener is not None:
            try:
                # Wakes the accept; close alone would leave it waiting.
                self.listener.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            self.listener.close()
            self.listener = None
            self.thread.join()
        for wire in self.wires:
            wire.end()
        self.wires = []

    def stall(self):
        """Let nothing pass and nothing get lost: packets in the air."""
        self._set(STALLED)

    def mend(self):
        self._set(WHOLE)
        if self.listener is not None:
            return
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, self.port))
        listener.listen(128)
        self.listener = listener
        self.thread = threading.Thread(target=self._accept, args=(listener,),
                                       daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.cut()
