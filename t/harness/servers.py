"""Real memcached servers, twemproxy, and a port where connecting hangs."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile

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


class Nutcracker:
    """twemproxy with POOLS: name to a dict of options, among them servers, a
    list.  Every pool has a port of its own."""

    def __init__(self, pools):
        self.ports = {name: free_port() for name in pools}
        self.folder = tempfile.mkdtemp(prefix="kvproxy-t-")
        conf = os.path.join(self.folder, "nutcracker.yml")
        with open(conf, "w") as f:
            for name, options in pools.items():
                f.write("%s:\n  listen: %s:%d\n" % (name, HOST,
                                                    self.ports[name]))
                for key, value in options.items():
                    if isinstance(value, list):
                        value = "".join("\n   - " + v for v in value)
                    f.write("  %s: %s\n" % (key, value))
        self.proc = subprocess.Popen(
            ["/usr/sbin/nutcracker", "-c", conf, "-a", HOST,
             "-s", str(free_port()), "-p", os.path.join(self.folder, "pid"),
             "-o", os.path.join(self.folder, "log")],
            stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def client(self, pool):
        return Client(self.ports[pool])

    def __enter__(self):
        try:
            for port in self.ports.values():
                wait_for(lambda: not is_refused(port), what="nutcracker")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc):
        self.proc.kill()
        self.proc.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


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
