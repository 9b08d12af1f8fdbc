"""Real memcached servers, and a port where connecting hangs."""

import os
import signal
import socket
import subprocess

from harness.net import (HOST, Client, fill_backlog, free_port, freeze,
                         is_refused, thaw, wait_for)

PROGRAM = "/usr/bin/memcached"


class Memcached:
    """A memcached on a port of its own, which it keeps over restarts."""

    def __init__(self, *args, port=None):
        self.port = port or free_port()
        self.name = "%s:%d" % (HOST, self.port)
        self.args = args
        self.proc = None
        self.start()

    def start(self):
        cmd = [PROGRAM, "-l", HOST, "-p", str(self.port), "-U", "0",
               "-t", "2", "-m", "256", "-c", "4096"]
        if os.getuid() == 0:
            cmd += ["-u", "root"]
        self.proc = subprocess.Popen(cmd + list(self.args),
                                     stdin=subprocess.DEVNULL,
                                     stderr=subprocess.DEVNULL)
        wait_for(lambda: not is_refused(self.port), what="memcached")

    def signal(self, sig):
        self.proc.send_signal(sig)

    def kill(self):
        """SIGKILL, also while it is stopped; what it held is gone."""
        self.proc.kill()
        self.proc.wait()

    def freeze(self):
        freeze(self.proc.pid)

    def thaw(self):
        thaw(self.proc.pid)

    def client(self):
        return Client(self.port)

    def ask(self, data, want=None):
        """One exchange on a connection of its own: the reply's line."""
        with self.client() as c:
            if want is None:
                return c.ask_line(data)
            return c.ask(data, want)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.proc.poll() is None:
            self.kill()


class Blackhole:
    """A port whose accept queue is full: connecting to it hangs."""

    def __init__(self):
        self.port = free_port()
        self.name = "%s:%d" % (HOST, self.port)
        self.listener = socket.socket()
        self.listener.bind((HOST, self.port))
        self.listener.listen(0)
        self.fillers = fill_backlog(self.port)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        for s in self.fillers + [self.listener]:
            s.close()
