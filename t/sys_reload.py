"""Another configuration under running clients, who go from one worker to
another where workers become fewer."""

import contextlib
import errno
import os
import signal
import socket
import stat
import struct
import threading
import time

import pytest

from harness import (BUILD, Blackhole, Client, Closed, FakeBackend, Kvproxy,
                     Load, Memcached, binary, free_port, is_refused, wait_for)
from harness.net import HOST
from harness.text import FAIL, hit


@pytest.fixture
def memcached():
    with Memcached() as m:
        yield m


@pytest.fixture
def two():
    with Memcached() as a, Memcached() as b:
        yield a, b


def n_fds(pid):
    return len(os.listdir("/proc/%d/fd" % pid))


def n_accepted(server):
    """How many connections SERVER has ever had."""
    with server.client() as c:
        c.send(b"stats\r\n")
        text = c.recv_until(b"END\r\n")
    line, = [li for li in text.split(b"\r\n") if b"total_connections" in li]
    return int(line.split()[-1])


class Knocker:
    """Asks again and again, each time on a connection of its own."""

    def __init__(self, kv):
        self.kv = kv
        self.n, self.wrong = 0, []
        self.halt = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        while not self.halt.is_set():
            key = b"knock%d" % (self.n % 50)
            try:
                with self.kv.client() as c:
                    c.ask(b"set %s 0 0 5\r\nhello\r\n" % key, b"STORED\r\n")
                    c.ask(b"get %s\r\n" % key, hit(key, b"hello"))
                self.n += 1
            except (AssertionError, OSError) as e:
                self.wrong.append(e)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.halt.set()
        self.thread.join(30)


#
# Under load.
#

ALIASES = ["127.0.0.%d" % i for i in (1, 2, 3)]


def three_files(port):
    """What changes from one file to the next: workers, and hosts.  The hosts
    are names of one server, so that a key that moves finds its value."""
    a, b, c = ["%s:%d" % (alias, port) for alias in ALIASES]
    return [{"workers": 1, "group": [a, b]},
            {"workers": 2, "group": [a, b, c]},
            {"workers": 3, "group": [c, a]}]


def test_P11_reloads_in_turn_under_load():
    with Memcached("-l", ALIASES[1], "-l", ALIASES[2]) as m:
        files = three_files(m.port)
        with Kvproxy(files[1]["group"], workers=2) as kv:
            with Load(kv) as load, Knocker(kv) as knocker:
                end = time.monotonic() + 4
                n = 0
                while time.monotonic() < end or n < 6:
                    kv.reload(**files[n % 3])
                    n += 1
                    load.check()
            assert load.errors == [] and load.stale == []
            assert load.missed == 0
            assert knocker.wrong == [] and knocker.n > 100
            stats = kv.stats()
            assert stats["reloads"] == n and stats["reload_errors"] == 0
            assert stats["failed_requests"] == 0
            assert stats["close_error"] == stats["close_stop"] == 0
            assert stats["clients_given"] == stats["clients_taken"] > 0


class Steady:
    """N clients that ask one after the other and count those closed."""

    def __init__(self, kv, n):
        self.clients = [kv.client() for _ in range(n)]
        self.closed = self.rounds = 0
        self.wrong = []
        self.halt = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _ask(self, i):
        key, value = b"steady%d" % i, b"%d" % self.rounds
        c = self.clients[i]
        try:
            c.ask(b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value),
                  b"STORED\r\n")
            c.ask(b"get %s\r\n" % key, hit(key, value))
        except (Closed, ConnectionError):
            self.closed += 1
            self.clients[i] = None
        except (AssertionError, OSError) as e:
            self.wrong.append(e)

    def _run(self):
        while not self.halt.is_set():
            for i, c in enumerate(self.clients):
                if c is not None:
                    self._ask(i)
            self.rounds += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.halt.set()
        self.thread.join(30)
        for c in self.clients:
            if c is not None:
                c.close()


def test_P1_a_worker_that_is_killed_between_reloads_loses_its_own_clients():
    with Memcached("-l", ALIASES[1], "-l", ALIASES[2]) as m:
        files = three_files(m.port)
        with Kvproxy(files[2]["group"], workers=3) as kv, \
                Steady(kv, 24) as steady, Knocker(kv) as knocker:
            kv.lose_workers = True
            lost = 0
            for n in range(6):
                files[n % 3]["workers"] = 2 + n % 2
                kv.reload(**files[n % 3])
                rounds = steady.rounds
                wait_for(lambda: steady.rounds > rounds + 1)
                victim = kv.slots()[n % 2]
                starts, closed = victim["starts"], steady.closed
                wrong = len(knocker.wrong)
                kv.hup()
                os.kill(victim["pid"], signal.SIGKILL)
                wait_for(lambda: kv.slots()[n % 2]["starts"] > starts)
                kv.wait_reloaded(2 * n + 2)
                rounds = steady.rounds
                wait_for(lambda: steady.rounds > rounds + 1)
                lost += victim["curr_connections"]
                assert steady.closed <= lost
                assert len(knocker.wrong) <= wrong + 1, knocker.wrong
                assert steady.wrong == []
            assert steady.closed > 0
            assert kv.stat("reloads") == 12


class Gate(FakeBackend):
    """A backend that answers when it is told to."""

    def __init__(self):
        self.gate = threading.Event()
        super().__init__(script=lambda conn, req: self.gate.wait(20) and None)

    def __exit__(self, *exc):
        self.gate.set()
        super().__exit__(*exc)


def test_F12_requests_in_flight_finish_under_the_old_configuration(memcached):
    """Their host is in the new file no more; its connection is closed when
    the last of them is answered."""
    with Gate() as gate, Kvproxy([gate]) as kv, kv.client() as c, \
            kv.client() as d:
        c.send(b"set k 0 0 1\r\n1\r\nget k\r\n")
        wait_for(lambda: gate.requests)
        kv.reload(group=[memcached])
        d.ask(b"set k 0 0 1\r\n2\r\n", b"STORED\r\n")
        assert c.is_quiet() and not gate.conns[0].gone.is_set()
        gate.gate.set()
        c.expect(b"STORED\r\n" + hit(b"k", b"1"))
        c.ask(b"get k\r\n", hit(b"k", b"2"))
        assert gate.conns[0].gone.wait(5)
