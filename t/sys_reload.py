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


#
# What stays.
#


def test_F9_a_reload_that_changes_nothing_opens_no_connection(two):
    with Kvproxy(two, workers=2) as kv, kv.client() as c:
        kv.wait_connected(*two)
        for i in range(20):
            c.ask(b"set k%d 0 0 1\r\nv\r\n" % i, b"STORED\r\n")
        # One more each, of who counts.
        accepted = [n_accepted(m) + 1 for m in two]
        before = [kv.backend(m) for m in two]
        for _ in range(5):
            kv.reload()
        assert [kv.backend(m) for m in two] == before
        assert [n_accepted(m) for m in two] == accepted
        assert [kv.backend(m, "connects") for m in two] == [2, 2]
        c.ask(b"get k0\r\n", hit(b"k0", b"v"))


def test_a_host_that_is_out_stays_out_over_a_reload(two):
    with Kvproxy(two, workers=2) as kv, kv.client() as c:
        kv.wait_connected(*two)
        two[1].kill()
        kv.wait_state(two[1], "out")
        ejections = kv.backend(two[1], "ejections")
        kv.reload()
        kv.reload(workers=3)
        assert kv.state(two[1]) == "out"
        assert kv.backend(two[1], "ejections") == ejections == 1
        assert kv.offline() == [two[1].name]
        for i in range(20):
            c.ask(b"set k%d 0 0 1\r\nv\r\n" % i, b"STORED\r\n")
        two[1].start()
        kv.wait_state(two[1], "up")
        assert kv.backend(two[1], "returns") == 1


def test_F8_a_host_that_is_out_is_removed_while_it_is_probed(memcached):
    with Blackhole() as hole, Kvproxy(
            [memcached, hole], workers=2,
            service={"connect_timeout": 300}) as kv, kv.client() as c:
        kv.wait_state(hole, "out")
        tries = kv.backend(hole, "connect_errors")
        fds = [n_fds(pid) for pid in kv.worker_pids()]
        for _ in range(5):
            kv.reload(group=[memcached])
            assert kv.backend(hole) == {} and kv.offline() == []
            for i in range(20):
                c.ask(b"set k%d 0 0 1\r\nv\r\n" % i, b"STORED\r\n")
            # It begins anew, with its counters.
            kv.reload(group=[memcached, hole])
            assert kv.backend(hole, "connect_errors") >= tries
        kv.wait_state(hole, "out")
        kv.reload(group=[memcached])
        wait_for(lambda: all(now <= then for now, then in zip(
            map(n_fds, kv.worker_pids()), fds)))


def test_P13_a_hundred_reloads_leave_nothing_behind(two):
    """Every other one has a host, a listening socket, a service and a worker
    more."""
    extra = free_port()
    more = {"extra": {"extension": "memcached.so", "hosts": "group",
                      "port": extra}}

    def held():
        # A client may be with any worker.
        return (n_fds(kv.pid), sum(map(n_fds, kv.worker_pids())),
                kv.mapped_segments(),
                kv.stat("server_connections"), kv.stat("curr_connections"))

    def big():
        kv.reload(group=two, workers=2, more=more)

    def small():
        kv.reload(group=two[:1], workers=1, more={"extra": None})

    with Kvproxy(two, workers=2, more=more) as kv, kv.client() as c:
        kv.wait_connected(*two)
        before = held()
        for _ in range(50):
            small()
            big()
        # What leaves is closed a little later.
        wait_for(lambda: held() == before, what="no more than before")
        c.ask(b"get k\r\n", b"END\r\n")


#
# Files that cannot be used.
#


def lines_of(path, key):
    with open(path) as f:
        return [n for n, text in enumerate(f, 1) if text.startswith(key)]


def spoil(kv, text):
    with open(kv.ini, "a") as f:
        f.write(text)


@pytest.mark.parametrize("change, key, what", [
    ({"service": {"colour": "blue"}}, "colour", "colour"),
    ({"service": {"recv_timeout": "never"}}, "recv_timeout=never", "never"),
    ({"service": {"hosts": "nobody"}}, "hosts=", "nobody"),
    ({"group": []}, None, "group"),
    ({"service": {"extension": "other.so"}}, "[memcached]", "restart"),
    ({"service": {"listen": "127.0.0.1:1 127.0.0.1:1"}}, "listen", "already"),
    ({"service": {"hosts": "group", "hash_tag": "{"}}, "hash_tag", "hash_tag"),
], ids=lambda v: v if isinstance(v, str) else "")
def test_P7_a_bad_file_changes_nothing(memcached, change, key, what):
    """It is reported with its line, and counted."""
    with Kvproxy([memcached]) as kv, kv.client() as c:
        kv.change(core={"log_level": "debug"}, **change)
        said = kv.reload_in_vain()
        line, = [li for li in said.splitlines() if "not reloaded" in li]
        assert "error: not reloaded: %s" % kv.ini in line and what in line
        if key:
            assert any("%s:%d:" % (kv.ini, n) in line
                       for n in lines_of(kv.ini, key)), line
        assert "debug" not in said
        c.ask(b"get k\r\n", b"END\r\n")
        assert kv.stat("reload_errors") == 1


def test_F1_F2_no_file_at_all_changes_nothing(memcached):
    def missing():
        os.unlink(kv.ini)

    def folder():
        os.mkdir(kv.ini)

    def fifo():
        os.rmdir(kv.ini)
        os.mkfifo(kv.ini)

    def socket_():
        os.unlink(kv.ini)
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(kv.ini)

    def empty():
        os.unlink(kv.ini)
        open(kv.ini, "w").close()

    def half():
        with open(kv.ini, "w") as f:
            f.write(text[:len(text) // 2] + "[")

    with Kvproxy([memcached]) as kv, kv.client() as c:
        with open(kv.ini) as f:
            text = f.read()
        for i, spoiled in enumerate((missing, folder, fifo, socket_, empty,
                                     half)):
            spoiled()
            said = kv.reload_in_vain()
            assert "not reloaded: %s" % kv.ini in said, (spoiled, said)
            assert kv.stat("reload_errors") == i + 1
            c.ask(b"get k\r\n", b"END\r\n")
        with open(kv.ini, "w") as f:
            f.write(text)
        kv.reload()


def test_P7_a_port_of_another_program_changes_nothing(memcached):
    """Not even the address that stands before it."""
    free = free_port()
    with Kvproxy([memcached], workers=2) as kv, kv.client() as c:
        fds = n_fds(kv.pid)
        kv.change(service={"listen": "127.0.0.1:%d,%s" % (free,
                                                          memcached.name)})
        said = kv.reload_in_vain()
        assert "cannot listen on %s: Address already in use" % \
            memcached.name in said
        assert is_refused(free) and not is_refused(kv.port)
        assert n_fds(kv.pid) == fds
        c.ask(b"get k\r\n", b"END\r\n")


def test_F10_too_few_descriptors_change_nothing(memcached):
    import resource
    with Kvproxy([memcached]) as kv, kv.client() as c:
        resource.prlimit(kv.pid, resource.RLIMIT_NOFILE, (100, 100))
        kv.change(service={"server_connections": 64}, workers=4)
        said = kv.reload_in_vain()
        assert "descriptors, the limit is 100" in said
        c.ask(b"get k\r\n", b"END\r\n")
        kv.reload(service={"server_connections": 1}, workers=2)


def test_what_needs_a_restart_is_named_and_the_rest_is_in_force(memcached):
    with Kvproxy([memcached]) as kv, kv.client() as c:
        before = kv.stats("settings")
        begin = len(kv.logged())
        kv.reload(core={"log_path": kv.path("other.log"),
                        "pid_file": kv.path("other.pid"),
                        "ext_path": kv.folder, "user": "root",
                        "core_dump": "on", "recv_timeout": 1234})
        said = kv.logged()[begin:]
        for key in ("log_path", "pid_file", "ext_path", "user", "core_dump"):
            line, = [li for li in said.splitlines() if key in li]
            assert "restart" in line and "%s:%d:" % (
                kv.ini, lines_of(kv.ini, key)[0]) in line, line
        before["recv_timeout"] = 1234
        assert kv.stats("settings") == before
        assert not os.path.exists(kv.path("other.pid"))
        # Named once more, as it is as true as before.
        begin = len(kv.logged())
        kv.reload()
        assert kv.logged()[begin:].count("restart") == 5
        c.ask(b"get k\r\n", b"END\r\n")
