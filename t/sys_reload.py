"""Another configuration under running clients, who go from one worker to
another where workers become fewer."""

import contextlib
import errno
import os
import resource
import signal
import socket
import stat
import threading
import time

import pytest

from harness import (Blackhole, Client, Closed, FakeBackend, Kvproxy,
                     Load, Meanwhile, Memcached, free_port, freeze,
                     is_refused, thaw, wait_for)
from harness import binary
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


class Knocker(Meanwhile):
    """Asks again and again, each time on a connection of its own."""

    def __init__(self, kv):
        super().__init__()
        self.kv = kv
        self.n = 0

    def once(self):
        key = b"knock%d" % (self.n % 50)
        with self.kv.client() as c:
            c.ask(b"set %s 0 0 5\r\nhello\r\n" % key, b"STORED\r\n")
            c.ask(b"get %s\r\n" % key, hit(key, b"hello"))
        self.n += 1


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


class Steady(Meanwhile):
    """N clients that ask one after the other and count those closed."""

    def __init__(self, kv, n):
        super().__init__()
        self.clients = [kv.client() for _ in range(n)]
        self.closed = self.rounds = 0

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

    def once(self):
        for i, c in enumerate(self.clients):
            if c is not None:
                self._ask(i)
        self.rounds += 1

    def __exit__(self, *exc):
        super().__exit__(*exc)
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
                starts = victim["starts"]
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


def test_a_reload_waits_for_the_one_before(two):
    """Of which a host that cannot be reached keeps the workers; others that
    are new in it would not be connected to."""
    with Blackhole() as hole, Kvproxy(
            two[:1], workers=2, service={"connect_timeout": 500}) as kv, \
            kv.client() as c:
        kv.change(group=[hole, two[0]])
        kv.hup()
        wait_for(lambda: kv.stat("reloads") == 1)
        assert not kv.is_settled()
        begin = time.monotonic()
        kv.reload(group=two)
        assert time.monotonic() - begin > 0.3
        fill(c)
        assert kv.stat("failed_requests") == 0
        assert kv.stat("reloads") == 2


def test_what_is_prepared_is_left_alone_until_it_is_in_force(two):
    """A host that cannot be reached keeps a reload waiting, while what the
    last one has left is swept and copies are looked after."""
    section = {"extension": "memcached.so", "hosts": "group",
               "port": free_port()}
    with Gate() as gate, Blackhole() as hole, Kvproxy(
            two[:1], workers=2, backup=[gate],
            service={"connect_timeout": 500},
            more={"second": section}) as kv, kv.client() as c:
        fill(c)
        assert kv.stat("copies_queued") == 50
        kv.reload(more={"second": None})
        begin = time.monotonic()
        kv.reload(group=list(two) + [hole], backups=[gate, hole],
                  service={"server_connections": 3})
        assert time.monotonic() - begin > 0.4	# it has waited
        for m in two:
            wait_for(lambda: kv.backend(m, "connected") == 6)
        kv.wait_state(hole, "out")
        fill(c)
        gate.gate.set()
        kv.reload(group=two[:1], backups=[gate],
                  service={"server_connections": 1})
        fill(c)


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
        wait_for(lambda: n_fds(kv.pid) == fds)
        c.ask(b"get k\r\n", b"END\r\n")


def test_a_file_that_is_refused_uses_up_no_service(memcached):
    """There may be 64 of them in the life of the instance."""
    section = {"extension": "memcached.so", "hosts": "group",
               "listen": "127.0.0.1:%d" % free_port()}
    taken = dict(section, listen=memcached.name)
    name = "first"
    with Kvproxy([memcached], more={name: section}) as kv:
        for i in range(70):
            kv.change(more={name: None, "s%d" % i: taken})
            name = "s%d" % i
            assert "Address already in use" in kv.reload_in_vain()
        kv.reload(more={name: None, "last": section})
        assert kv.stats("services")["last:requests"] == 0
        assert not [n for n in kv.stats("services") if n.startswith("first")]


def test_F10_too_few_descriptors_change_nothing(memcached):
    with Kvproxy([memcached]) as kv, kv.client() as c:
        resource.prlimit(kv.pid, resource.RLIMIT_NOFILE, (100, 100))
        kv.change(service={"server_connections": 64}, workers=4)
        said = kv.reload_in_vain()
        assert "descriptors, the limit is 100" in said
        c.ask(b"get k\r\n", b"END\r\n")
        kv.reload(service={"server_connections": 1}, workers=2)


def test_a_file_with_too_many_hosts_uses_nothing_up(memcached):
    """An instance knows 4,096 in its life, the one that serves among them."""
    def some(block, n):
        return ["127.%d.%d.%d:1" % (block, i // 200, i % 200 + 1)
                for i in range(n)]

    with Kvproxy([memcached]) as kv, kv.client() as c:
        for block in (1, 2, 3):
            kv.reload(group=some(block, 1024))
        kv.change(group=some(4, 1024))
        assert "too many hosts in the life of this instance" in \
            kv.reload_in_vain()
        kv.reload(group=some(5, 1022) + [memcached])
        kv.reload(group=[memcached])
        c.ask(b"get k\r\n", b"END\r\n")


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


#
# Options, each under a client that stays.
#


def fill(client, n=50, prefix=b"k"):
    for i in range(n):
        client.ask(b"set %s%d 0 0 1\r\nv\r\n" % (prefix, i), b"STORED\r\n")


def n_there(server, n=50, prefix=b"k"):
    """How many of these keys SERVER has."""
    with server.client() as c:
        c.send(b"get %s\r\n" % b" ".join(b"%s%d" % (prefix, i)
                                         for i in range(n)))
        return len(c.recv_values()[0])


def test_recv_timeout_changes(memcached):
    with Gate() as gate, Kvproxy([gate]) as kv, kv.client() as c:
        kv.reload(core={"recv_timeout": 50})
        c.send(b"get k\r\n")
        assert c.recv_line().startswith(FAIL)
        assert kv.backend(gate, "timeouts") == 1
        assert "backend connection [50ms]" in kv.status()


def test_failover_changes(two):
    with Kvproxy(two, service={"failover": "none"}) as kv, kv.client() as c:
        kv.wait_connected(*two)
        two[1].kill()
        kv.wait_state(two[1], "out")
        lines = [c.ask_line(b"delete k%d\r\n" % i) for i in range(50)]
        failed = sum(li.startswith(FAIL) for li in lines)
        assert 0 < failed < 50
        kv.reload(service={"failover": "rehash"})
        fill(c)
        assert n_there(two[0]) == 50
        assert kv.stat("stand_ins") == failed


@pytest.mark.parametrize("option, value", [
    ("distribution", "modula"), ("hash", "fnv1a_64"), ("hash_tag", "{}")])
def test_keys_move_with_the_ring(two, option, value):
    prefix = b"{tag}"
    with Kvproxy(two) as kv, kv.client() as c:
        kv.wait_connected(*two)
        fill(c, prefix=prefix)
        before = [n_there(m, prefix=prefix) for m in two]
        assert sum(before) == 50 and min(before) > 0
        kv.reload(service={option: value})
        fill(c, prefix=prefix)
        assert sum(n_there(m, prefix=prefix) for m in two) > 50
        kv.reload(service={option: None})
        c.ask(b"flush_all\r\n", b"OK\r\n")
        fill(c, prefix=prefix)
        assert [n_there(m, prefix=prefix) for m in two] == before


def test_client_window_changes_for_clients_that_are_there():
    with Gate() as gate, Kvproxy([gate]) as kv, kv.client() as c, \
            kv.client() as d:
        gate.gate.set()
        c.ask(b"get %s\r\n" % b" ".join(b"k%d" % i for i in range(100)),
              b"END\r\n")
        gate.gate.clear()
        kv.reload(service={"client_window": 2})
        n = kv.backend(gate, "requests")
        c.send(b"get a b c d e f g\r\n")
        d.send(b"get a\r\nget b\r\nget c\r\nget d\r\n")
        kv.tick()
        kv.tick()
        assert kv.backend(gate, "requests") == n + 4
        gate.gate.set()
        c.expect(b"END\r\n")
        d.expect(b"END\r\n" * 4)


def test_max_packet_changes():
    value = b"x" * 1500000
    ask = b"set k 0 0 %d\r\n%s\r\n" % (len(value), value)
    with Memcached("-I", "4m") as m, Kvproxy([m]) as kv, kv.client() as c:
        c.ask(ask, b"SERVER_ERROR object too large for cache\r\n")
        kv.reload(core={"max_packet": 2})
        c.ask(ask, b"STORED\r\n")
        c.ask(b"get k\r\n", hit(b"k", value))
        # What has begun as allowed is stored.
        c.send(ask[:1000000])
        kv.tick()
        kv.reload(core={"max_packet": 1})
        c.send(ask[1000000:])
        line = c.recv_line()
        assert line in (b"STORED\r\n",
                        b"SERVER_ERROR object too large for cache\r\n")
        c.ask(b"get none\r\n", b"END\r\n")
        c.ask(ask, b"SERVER_ERROR object too large for cache\r\n")


def test_server_connections_become_more_and_fewer_under_load(two):
    with Kvproxy(two, workers=2) as kv, kv.client() as c:
        kv.wait_connected(*two)
        with Load(kv, pace=0) as load:
            for n in (3, 1, 4, 2, 1) * 2:
                kv.reload(service={"server_connections": n})
                wait_for(lambda: all(kv.backend(m, "connected") == 2 * n
                                     for m in two))
                # In one burst, so that order between lanes shows.
                c.send(b"".join(b"set o 0 0 %d\r\n%d\r\nget o\r\n" % (
                    len(b"%d" % i), i) for i in range(200)))
                c.expect(b"".join(b"STORED\r\n" + hit(b"o", b"%d" % i)
                                  for i in range(200)))
        assert load.errors == [] and load.stale == [] and load.missed == 0
        assert kv.stat("failed_requests") == 0


def test_hosts_read_comes_and_goes(two):
    with Kvproxy(two[:1]) as kv, kv.client() as c:
        c.ask(b"set k 0 0 1\r\n1\r\n", b"STORED\r\n")
        kv.reload(readers=two[1:])
        c.ask(b"get k\r\n", b"END\r\n")
        two[1].ask(b"set k 0 0 1\r\n2\r\n")
        c.ask(b"get k\r\n", hit(b"k", b"2"))
        kv.reload(readers=None)
        c.ask(b"get k\r\n", hit(b"k", b"1"))
        assert kv.backend(two[1]) == {}


def test_hosts_backup_comes_and_goes(memcached):
    """What waits for one that goes arrives still."""
    with Gate() as gate, Kvproxy([memcached]) as kv, kv.client() as c:
        c.ask(b"set k 0 0 1\r\n1\r\n", b"STORED\r\n")
        kv.reload(backups=[gate])
        for i in range(1000):
            c.ask(b"set c%d 0 0 1\r\n2\r\n" % i, b"STORED\r\n")
        assert kv.stat("copies_queued") == 1000
        kv.reload(backups=None)
        assert kv.stat("copies_queued") == 1000
        c.ask(b"set k 0 0 1\r\n3\r\n", b"STORED\r\n")
        gate.gate.set()
        wait_for(lambda: kv.stat("copies_queued") == 0)
        assert kv.stat("copies_sent") == kv.stat("copies") == 1000
        assert gate.store == {b"c%d" % i: b"2" for i in range(1000)}
        assert gate.conns[0].gone.wait(5)
        kv.reload(backups=[gate])
        c.ask(b"set k 0 0 1\r\n4\r\n", b"STORED\r\n")
        wait_for(lambda: gate.store.get(b"k") == b"4")


def test_sync_str_changes(two):
    with Kvproxy(two[:1], backup=two[1:], core={"shutdown_timeout": 0.1},
                 service={"failover_threshold": 1000}) as kv, \
            kv.client() as c:
        kv.wait_connected(*two)
        two[1].kill()
        wait_for(lambda: kv.backend(two[1], "connected") == 0)
        c.ask(b"set s1 0 0 1\r\n1\r\n", b"STORED\r\n")
        kv.reload(service={"sync_str": "s"})
        c.send(b"set s1 0 0 1\r\n2\r\n")
        line = c.recv_line()
        assert line.startswith(FAIL) and two[1].name.encode() in line, line
        c.ask(b"set a1 0 0 1\r\n2\r\n", b"STORED\r\n")
        kv.reload(service={"sync_str": ""})
        c.ask(b"set s1 0 0 1\r\n3\r\n", b"STORED\r\n")


def test_log_level_changes_in_all_processes(memcached):
    def debug():
        lines = [li for li in kv.logged()[begin:].splitlines()
                 if " debug: " in li]
        return {int(li.split()[2]) for li in lines}

    with Kvproxy([memcached]) as kv, kv.client() as c:
        begin = len(kv.logged())
        with kv.client() as d:
            d.ask(b"quit\r\n", b"")
            d.eof()
        assert debug() == set()
        kv.reload(core={"log_level": "debug"})
        with kv.client() as d:
            d.send(b"quit\r\n")
            d.eof()
        os.kill(kv.pid, signal.SIGCHLD)
        wait_for(lambda: set(kv.worker_pids()) <= debug())
        kv.reload(core={"log_level": "warn"})
        begin = len(kv.logged())
        kv.reload()
        assert kv.logged()[begin:] == ""
        c.ask(b"get k\r\n", b"END\r\n")


def test_an_option_of_the_extension_changes(two):
    with Kvproxy(two[:1], read=two[1:]) as kv, kv.client() as c:
        def cas():
            c.send(binary.request("get", b"k"))
            return binary.recv(c).cas

        for m in two:
            m.ask(b"set k 0 0 1\r\n1\r\n")
        assert cas() == 0
        kv.reload(service={"binary_cas": "on"})
        assert cas() != 0
        kv.reload(service={"binary_cas": "off"})
        assert cas() == 0


def test_a_service_comes_is_renamed_and_goes(two):
    """Clients of one that has gone are answered, and then closed."""
    port = free_port()
    section = {"extension": "memcached.so", "hosts": "group", "port": port}
    with Gate() as gate, Kvproxy(two, workers=2) as kv, kv.client() as c:
        kv.reload(more={"second": section})
        with Client(port) as idle:
            idle.ask(b"set k 0 0 1\r\n1\r\n", b"STORED\r\n")
            # A name is all that makes a service the same.
            kv.reload(more={"second": None, "third": section})
            assert idle.eof() == b""
            with Client(port) as d:
                d.ask(b"get k\r\n", hit(b"k", b"1"))
        kv.reload(more={"third": None, "slow": dict(
            section, hosts="slow hosts")}, **{"slow hosts": [gate]})
        with Client(port) as idle, Client(port) as busy:
            idle.ask(b"version\r\n", kv.version())
            busy.send(b"set k 0 0 1\r\n2\r\nget k\r\n")
            wait_for(lambda: gate.requests)
            kv.reload(more={"slow": None}, **{"slow hosts": None})
            assert idle.eof() == b"" and busy.is_quiet()
            wait_for(lambda: is_refused(port))
            gate.gate.set()
            assert busy.eof() == b"STORED\r\n" + hit(b"k", b"2")
        wait_for(lambda: gate.conns[-1].gone.is_set())
        assert kv.stat("close_stop") == 3
        c.ask(b"get k\r\n", hit(b"k", b"1"))
        wait_for(lambda: kv.stat("curr_connections") == 2)


def test_idle_clients_stay_over_all_of_this(two):
    with Kvproxy(two, workers=2) as kv:
        clients = [kv.client() for _ in range(100)]
        for c in clients:
            c.ask(b"version\r\n", kv.version())
        for core, service in (({"recv_timeout": 77}, {"hash": "md5"}),
                              ({}, {"distribution": "jump"}),
                              ({}, {"server_connections": 2}),
                              ({"max_packet": 3}, {"client_buffer": 2})):
            kv.reload(core=core, service=service)
        assert kv.stat("total_connections") == 101
        for c in clients:
            c.ask(b"get none\r\n", b"END\r\n")
            c.close()
        assert kv.stat("close_stop") == kv.stat("close_error") == 0


#
# Addresses.
#


def unix_client(path):
    """A Client, but at PATH."""
    c = Client.__new__(Client)
    c.sock = socket.socket(socket.AF_UNIX)
    c.sock.settimeout(20)
    c.sock.connect(path)
    c.buf = bytearray()
    return c


def ask_at(address, data=b"get none\r\n", want=b"END\r\n"):
    """One exchange at ADDRESS: a path, or a (host, port)."""
    if isinstance(address, str):
        with unix_client(address) as c:
            c.ask(data, want)
        return
    with socket.create_connection(address, 20) as s:
        s.sendall(data)
        got = b""
        while len(got) < len(want):
            got += s.recv(4096)
        assert got == want


def is_refused_at(address):
    try:
        if isinstance(address, str):
            unix_client(address).close()
        else:
            socket.create_connection(address, 5).close()
    except OSError as e:
        return e.errno in (errno.ECONNREFUSED, errno.ENOENT)
    return False


def test_all_forms_of_addresses_are_listened_on(memcached):
    """[::] takes no IPv4 connections with it."""
    a, b = free_port(), free_port()
    with Kvproxy([memcached], workers=2) as kv:
        path = kv.path("kv.sock")
        kv.reload(service={"listen": "%s:%d [::1]:%d [::]:%d %s" % (
            HOST, kv.port, a, b, path), "listen_mode": "0640"})
        for address in ((HOST, kv.port), ("::1", a), ("::1", b), path):
            for _ in range(8):
                ask_at(address)
        assert is_refused_at((HOST, a)) and is_refused_at((HOST, b))
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o640
        kv.reload(service={"listen_mode": "0600"})
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        with socket.socket() as s:	# IPv4 is free for others
            s.bind((HOST, b))
            s.listen(1)
        kv.stop()
        assert not os.path.exists(path)


def test_a_start_listens_on_all_addresses_of_all_services(memcached):
    a, b = free_port(), free_port()
    kv = Kvproxy([memcached], workers=2, more={
        "second": {"extension": "memcached.so", "hosts": "group",
                   "listen": "127.0.0.1:%d [::1]:%d" % (a, b)}})
    path = kv.path("kv.sock")
    kv.change(service={"listen": "*:%d,%s" % (kv.port, path)})
    with kv:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o700
        for address in ((HOST, kv.port), path, (HOST, a), ("::1", b)):
            ask_at(address)
    assert not os.path.exists(path)


def test_a_stale_socket_file_is_taken_over_and_a_live_one_is_not(memcached):
    with Kvproxy([memcached]) as kv:
        path = kv.path("kv.sock")
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(path)
            other.listen(1)
            kv.change(service={"listen": "127.0.0.1:%d %s" % (kv.port,
                                                              path)})
            said = kv.reload_in_vain()
            assert "cannot listen on %s: Address already in use" % path in said
            assert stat.S_ISSOCK(os.stat(path).st_mode)
        kv.reload()
        ask_at(path)
        # A file that is no socket is nobody's to remove.
        plain = kv.path("plain")
        open(plain, "w").close()
        kv.change(service={"listen": "127.0.0.1:%d %s" % (kv.port, plain)})
        assert "cannot listen on %s" % plain in kv.reload_in_vain()
        assert os.path.isfile(plain)
        ask_at(path)


def test_a_unix_socket_survives_a_kill_of_the_master(memcached):
    kv = Kvproxy([memcached], folder=None)
    path = kv.path("kv.sock")
    kv.change(service={"listen": "127.0.0.1:%d %s" % (kv.port, path)})
    with kv:
        kv.kill()
        assert os.path.exists(path)
        kv.start()
        ask_at(path)


class Connector(Meanwhile):
    """Connects to an address all the time, asks once each time, and notes
    how it ended: served, refused, or anything else, which is wrong."""

    def __init__(self, address):
        super().__init__()
        self.address = address
        self.served = self.refused = 0

    def once(self):
        s = socket.socket(socket.AF_UNIX if isinstance(self.address, str)
                          else socket.AF_INET)
        with s:
            s.settimeout(20)
            try:
                s.connect(self.address)
            except OSError as e:
                if e.errno not in (errno.ECONNREFUSED, errno.ENOENT):
                    raise
                self.refused += 1
                return
            s.sendall(b"get none\r\n")
            got = s.recv(4096)
            assert got == b"END\r\n", got
            self.served += 1


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_P12_who_connects_while_a_listener_goes_is_served_or_refused(
        memcached, kind):
    with Kvproxy([memcached], workers=3) as kv, contextlib.ExitStack() as st:
        port = free_port()
        address = (HOST, port) if kind == "tcp" else kv.path("kv.sock")
        text = "%s:%d" % address if kind == "tcp" else address
        base = "%s:%d" % (HOST, kv.port)
        all_of_them = [st.enter_context(Connector(address)) for _ in range(6)]
        for _ in range(2):
            served = sum(c.served for c in all_of_them)
            kv.reload(service={"listen": base + "," + text})
            wait_for(lambda: sum(c.served for c in all_of_them) > served + 50)
            kv.reload(service={"listen": base})
            wait_for(lambda: is_refused_at(address))
            refused = [c.refused for c in all_of_them]
            wait_for(lambda: all(c.refused > n for c, n in zip(all_of_them,
                                                               refused)))
            assert [c.wrong for c in all_of_them] == [[]] * 6
        # It comes back while it is going.
        kv.reload(service={"listen": base + "," + text})
        wait_for(lambda: not is_refused_at(address))
        kv.reload(service={"listen": base})
        kv.reload(service={"listen": base + "," + text})
        served = sum(c.served for c in all_of_them)
        wait_for(lambda: sum(c.served for c in all_of_them) > served + 50)
        assert [c.wrong for c in all_of_them] == [[]] * 6


def test_P12_a_service_goes_with_its_listener_under_connecting_clients(
        memcached):
    with Kvproxy([memcached], workers=3) as kv, contextlib.ExitStack() as st:
        port = free_port()
        section = {"extension": "memcached.so", "hosts": "group",
                   "port": port}
        all_of_them = [st.enter_context(Connector((HOST, port)))
                       for _ in range(6)]
        for _ in range(2):
            served = sum(c.served for c in all_of_them)
            kv.reload(more={"second": section})
            wait_for(lambda: sum(c.served for c in all_of_them) > served + 50)
            kv.reload(more={"second": None})
            wait_for(lambda: is_refused(port))
        assert [c.wrong for c in all_of_them] == [[]] * 6


def test_port_becomes_listen_and_port_again(memcached):
    """Any address and one of them may have the same port."""
    with Kvproxy([memcached], workers=2) as kv, \
            Connector((HOST, kv.port)) as connector, kv.client() as c:
        for listen in ("%s:%d" % (HOST, kv.port), None):
            kv.reload(service={"listen": listen})
            served = connector.served
            wait_for(lambda: connector.served > served + 20)
        assert connector.wrong == [] and connector.refused == 0
        c.ask(b"get k\r\n", b"END\r\n")


def test_an_adopted_address_waits_for_the_service_that_gets_it(memcached):
    """That is being prepared, which a host takes long to be; slot 2 has no
    worker, and another one accepts from its sockets."""
    port = free_port()
    section = {"extension": "memcached.so", "hosts": "group", "port": port}
    with Blackhole() as hole, Kvproxy(
            [memcached], workers=3, more={"second": section},
            service={"connect_timeout": 500}) as kv, \
            contextlib.ExitStack() as st:
        kv.reload(workers=2)
        all_of_them = [st.enter_context(Connector((HOST, port)))
                       for _ in range(4)]
        for old, new in (("second", "third"), ("third", "second")):
            kv.reload(more={old: None, new: dict(section, hosts="slow",
                                                 connect_timeout=500)},
                      slow=[memcached, hole], service={"failover": "none"})
            served = sum(c.served for c in all_of_them)
            wait_for(lambda: sum(c.served for c in all_of_them) > served + 20)
        assert kv.worker_pids() == kv.first_workers
        assert [s["starts"] for s in kv.slots().values()] == [1, 1, 1]


def test_a_worker_that_goes_holds_no_socket(memcached):
    """It stays while copies wait in it; the address is refused before."""
    port = free_port()
    section = {"extension": "memcached.so", "hosts": "group", "port": port}
    with Gate() as gate, Kvproxy([memcached], workers=2, backup=[gate],
                                 more={"second": section}) as kv, \
            kv.client_on_each() as each:
        for slot, c in each.items():
            c.ask(b"set k%d 0 0 1\r\n1\r\n" % slot, b"STORED\r\n")
        for changes in ({"workers": 1}, {"more": {"second": None}}):
            number = kv.stat("reloads") + 1
            kv.change(**changes)
            kv.hup()
            wait_for(lambda: kv.slots()[0]["reloads"] == number)
        wait_for(lambda: is_refused(port))
        assert len(kv.worker_pids()) == 2
        kv.change(more={"second": section})
        kv.hup()
        wait_for(lambda: not is_refused(port))
        gate.gate.set()
        kv.wait_reloaded(3)


def test_services_that_go_leave_no_age_of_their_copies(memcached):
    """Their last copies are awaited; the oldest one's age is that of one of
    them, however many services and workers wait."""
    more = {"s%d" % i: {"extension": "memcached.so", "hosts": "group",
                        "hosts_backup": "backups", "port": free_port()}
            for i in range(8)}
    with Memcached() as backup, Kvproxy([memcached], workers=2,
                                        backup=[backup], more=more) as kv:
        kv.wait_connected(memcached, backup)
        backup.freeze()
        begin = time.monotonic()
        for section in more.values():
            with Client(section["port"]) as c:
                c.ask(b"set k 0 0 1\r\n1\r\n", b"STORED\r\n")
        wait_for(lambda: kv.stat("copies_lag_ms") > 500)
        workers = [kv.stats("workers")["%d:copies_lag_ms" % i]
                   for i in range(2)]
        most = 1000 * (time.monotonic() - begin) + 200
        assert max(workers) < most and kv.stat("copies_lag_ms") < most
        kv.change(more=dict.fromkeys(more))
        kv.hup()
        wait_for(lambda: kv.stat("reloads") == 1)
        backup.thaw()
        wait_for(lambda: kv.stat("copies_queued") == 0)
        kv.wait_reloaded(1)
        wait_for(lambda: kv.stat("copies_lag_ms") == 0)


def test_the_age_is_that_of_the_oldest_copy_of_all_of_one_name(memcached):
    """A service that returns while copies of the old one wait."""
    port = free_port()
    other = {"extension": "memcached.so", "hosts": "group",
             "hosts_backup": "backups", "port": port}
    with Memcached() as backup, Kvproxy([memcached], backup=[backup],
                                        more={"other": other}) as kv:
        kv.wait_connected(memcached, backup)
        backup.freeze()
        with Client(port) as c:
            c.ask(b"set k 0 0 1\r\n1\r\n", b"STORED\r\n")
        for number, section in enumerate((None, other), 1):
            kv.change(more={"other": section})
            kv.hup()
            wait_for(lambda: kv.stat("reloads") == number and
                     kv.slots()[0]["reloads"] == number)
        with Client(port) as c:
            c.ask(b"set l 0 0 1\r\n1\r\n", b"STORED\r\n")
        ages = []

        def look():
            ages.append(kv.stats("services")["other:copies_lag_ms"])
            return ages[-1] >= 1500

        wait_for(look)
        assert ages == sorted(ages) and kv.stat("copies_queued") == 2
        backup.thaw()
        kv.wait_reloaded(2)
        wait_for(lambda: kv.stat("copies_lag_ms") == 0)


def test_an_address_moves_from_one_service_to_another(two):
    """Who was there stays with the one that was called."""
    a, b = free_port(), free_port()

    def listens(first, second):
        return {name: {"extension": "memcached.so", "hosts": hosts,
                       "listen": "127.0.0.1:%d" % port}
                for name, hosts, port in (("one", "group", first),
                                          ("two", "second", second))}

    for m, value in zip(two, b"12"):
        m.ask(b"set who 0 0 1\r\n%c\r\n" % value, b"STORED\r\n")
    kv = Kvproxy(two[:1], workers=2, more=listens(a, b))
    kv.change(second=two[1:])
    with kv:
        with Client(a) as c, Client(b) as d:
            for first, second in ((b, a), (a, b)) * 3:
                kv.reload(more=listens(first, second))
                for _ in range(6):
                    ask_at((HOST, first), b"get who\r\n", hit(b"who", b"1"))
                    ask_at((HOST, second), b"get who\r\n", hit(b"who", b"2"))
                c.ask(b"get who\r\n", hit(b"who", b"1"))
                d.ask(b"get who\r\n", hit(b"who", b"2"))


#
# From one worker to another.
#


def test_a_new_service_is_served_before_all_workers_know_it(memcached):
    """A new client is passed on to none that does not."""
    port = free_port()
    with Kvproxy([memcached], workers=2) as kv, \
            kv.client_on_each() as each, contextlib.ExitStack() as st:
        kv.control(lambda c: None)
        kv.ctl.close()
        kv.ctl = each[0]
        # So that there are fewer clients at the other one.
        more = [kv.client() for _ in range(20)]
        for c in more:
            c.ask_line(b"version\r\n")
        frozen = kv.slots()[1]["pid"]
        freeze(frozen)
        for c in more:
            c.close()
        try:
            kv.change(more={"second": {"extension": "memcached.so",
                                       "hosts": "group", "port": port}})
            kv.hup()
            wait_for(lambda: kv.slots()[0]["reloads"] == 1)
            clients = [st.enter_context(Client(port)) for _ in range(40)]
            for c in clients:
                c.send(b"get k\r\n")
            wait_for(lambda: kv.slots()[0]["requests"] >= 5)
        finally:
            thaw(frozen)
        for c in clients:
            c.expect(b"END\r\n")
        kv.ctl = None
        kv.wait_reloaded(1)


def test_workers_get_two_of_eight_clients_each_at_most(memcached):
    for _ in range(10):
        with Kvproxy([memcached], workers=8) as kv, \
                contextlib.ExitStack() as st:
            for _ in range(7):
                c = st.enter_context(kv.client())
                c.ask(b"get k\r\n", b"END\r\n")
            slots = kv.slots()	# on a connection of its own, the eighth
            assert len(slots) == 8
            n = [s["curr_connections"] for s in slots.values()]
            assert sum(n) == 8 and max(n) <= 2, n


SMALL = b"hello"
LARGE = bytes(range(256)) * 3600	# 0.9 MB


class Actor:
    """A client in the middle of something, which it comes back to later.

    BEGIN(client) and END(client) of each kind; between the two the client is
    handed over.  NAME keeps their keys apart."""

    def __init__(self, kv, name, begin, end, **kwargs):
        self.name = name
        self.client = kv.client(**kwargs)
        self.begin = lambda: begin(self.client, name)
        self.end = lambda: end(self.client, name)


def store_line(key, value):
    return b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value)


def half(at):
    """A text store that was sent up to AT, and then whole."""
    def begin(c, name, value):
        c.send(store_line(name, value)[:at])

    def end(c, name, value):
        c.send(store_line(name, value)[at:])
        c.expect(b"STORED\r\n")
        c.ask(b"get %s\r\n" % name, hit(name, value))
    return begin, end


def with_value(pair, value):
    return (lambda c, name: pair[0](c, name, value),
            lambda c, name: pair[1](c, name, value))


def half_binary(at, value):
    def begin(c, name):
        c.send(binary.store("set", name, value, opaque=7)[:at])

    def end(c, name):
        c.send(binary.store("set", name, value, opaque=7)[at:] +
               binary.request("get", name, opaque=8))
        stored, got = binary.recv(c), binary.recv(c)
        assert (stored.status, stored.opaque) == (0, 7)
        assert (got.status, got.opaque, got.value) == (0, 8, value)
    return begin, end


def half_swallowed():
    """A store that is too large, of which half has come."""
    value = b"flush_all\r\n" * 150000
    return (lambda c, name: c.send(store_line(name, value)[:800000]),
            lambda c, name: (
                c.send(store_line(name, value)[800000:]),
                c.expect(b"SERVER_ERROR object too large for cache\r\n"),
                c.ask(b"get %s\r\n" % name, b"END\r\n")))


def half_multiget(n=2000):
    line = b"get " + b" ".join(b"none%d" % i for i in range(n)) + b"\r\n"
    return (lambda c, name: c.send(line[:9000]),
            lambda c, name: c.ask(line[9000:], b"END\r\n"))


def unread(value, n):
    """Answers of which nothing is read for long."""
    def begin(c, name):
        c.ask(store_line(name, value), b"STORED\r\n")
        c.send(b"get %s\r\n" % name * n)

    def end(c, name):
        c.expect(hit(name, value) * n)
        c.ask(b"delete %s\r\n" % name, b"DELETED\r\n")
    return begin, end


def pipelined(n):
    def begin(c, name):
        c.send(b"".join(store_line(name, b"%d" % i) + b"get %s\r\n" % name
                        for i in range(n)))

    def end(c, name):
        c.expect(b"".join(b"STORED\r\n" + hit(name, b"%d" % i)
                          for i in range(n)))
    return begin, end


def meta():
    return (lambda c, name: c.ask(b"ms %s 2 Oa c\r\nhi\r\nmg %s v" % (
                name, name), b"")
            or c.expect(b"HD Oa c") or c.recv_line(),
            lambda c, name: c.ask(b" k Ob\r\n", b"VA 2 k%s Ob\r\nhi\r\n" %
                                  name))


def noreply():
    return (lambda c, name: c.send(b"set %s 0 0 1 noreply\r\n1\r\nse" % name),
            lambda c, name: c.ask(b"t %s 0 0 1 noreply\r\n2\r\nget %s\r\n" % (
                name, name), hit(name, b"2")))


ACTORS = {
    "half a line": with_value(half(9), SMALL),
    "a line without LF": with_value(half(-6 - len(SMALL) + 1), SMALL),
    "half a value": with_value(half(15), SMALL),
    "a value without its end": with_value(half(-1), SMALL),
    "half a large value": with_value(half(500000), LARGE),
    "a large value without its end": with_value(half(-1), LARGE),
    "half a binary header": half_binary(11, SMALL),
    "half a binary value": half_binary(400000, LARGE),
    "half of what is swallowed": half_swallowed(),
    "half a multiget": half_multiget(),
    "unread large answers": unread(LARGE, 5),
    "unread answers in many pieces": unread(b"x" * 20000, 200),
    "unread small answers": unread(b"x" * 100, 60000),
    "a pipeline": pipelined(3000),
    "meta": meta(),
    "noreply": noreply(),
}


@pytest.mark.parametrize("kind", sorted(ACTORS))
def test_P11_clients_go_on_with_another_worker(memcached, kind):
    """Four workers become two, and four again, and so on."""
    begin, end = ACTORS[kind]
    kwargs = {"rcvbuf": 4096} if kind.startswith("unread") else {}
    with Kvproxy([memcached], workers=4) as kv:
        actors = [Actor(kv, b"a%d" % i, begin, end, **kwargs)
                  for i in range(6)]
        for turn, n in enumerate((2, 4, 1)):
            given = kv.stat("clients_given")
            for a in actors:
                a.begin()
            kv.reload(workers=n)
            if n < 4:
                assert kv.stat("clients_given") > given
            for a in actors:
                a.end()
        stats = kv.stats()
        assert stats["total_connections"] == len(actors) + 1
        assert stats["curr_connections"] == len(actors) + 1
        assert stats["bad_requests"] == 0 or kind == "half of what is " \
            "swallowed"
        for a in actors:
            a.client.close()
        wait_for(lambda: kv.stat("curr_connections") == 1)
        assert kv.stat("close_client") == len(actors)


def test_P11_a_request_in_flight_is_answered_before_its_client_goes():
    with Gate() as gate, Kvproxy([gate], workers=4) as kv, \
            contextlib.ExitStack() as st:
        clients = [st.enter_context(kv.client()) for _ in range(12)]
        for i, c in enumerate(clients):
            c.send(b"set k%d 0 0 1\r\n1\r\nget k%d\r\nget" % (i, i))
        wait_for(lambda: kv.backend(gate, "requests") == 24)
        kv.change(workers=1)
        kv.hup()
        wait_for(lambda: kv.stat("reloads") == 1)
        gate.gate.set()
        for i, c in enumerate(clients):
            c.expect(b"STORED\r\n" + hit(b"k%d" % i, b"1"))
        kv.wait_reloaded(1)
        for i, c in enumerate(clients):
            c.ask(b" k%d\r\n" % i, hit(b"k%d" % i, b"1"))
        assert kv.stat("curr_connections") == 13


@pytest.mark.parametrize("value, n", [(b"v", 3), (LARGE, 6)],
                         ids=["small", "unread"])
def test_P11_a_half_closed_client_gets_all_its_answers(memcached, value, n):
    with Kvproxy([memcached], workers=4) as kv, contextlib.ExitStack() as st:
        clients = [st.enter_context(kv.client(rcvbuf=4096))
                   for _ in range(12)]
        clients[0].ask(store_line(b"k", value), b"STORED\r\n")
        for c in clients:
            c.send(b"get k\r\n" * n)
            c.shut_write()
        kv.reload(workers=1)
        for c in clients:
            assert c.eof() == hit(b"k", value) * n
        wait_for(lambda: kv.stat("curr_connections") == 1)
        assert kv.stat("close_stop") == kv.stat("close_error") == 0


def test_P11_half_closed_in_flight(memcached):
    with Gate() as gate, Kvproxy([gate], workers=4) as kv, \
            contextlib.ExitStack() as st:
        clients = [st.enter_context(kv.client()) for _ in range(12)]
        for c in clients:
            c.send(b"get k\r\nget k\r\nge")
            c.shut_write()
        wait_for(lambda: kv.backend(gate, "requests") == 24)
        kv.change(workers=1)
        kv.hup()
        wait_for(lambda: kv.stat("reloads") == 1)
        gate.gate.set()
        for c in clients:
            assert c.eof() == b"END\r\nEND\r\n"
        kv.wait_reloaded(1)


def test_copies_of_workers_that_go_arrive(memcached):
    with Gate() as gate, Kvproxy([memcached], workers=4, backup=[gate]) as kv, \
            kv.client_on_each() as each:
        for slot, c in each.items():
            for i in range(100):
                c.ask(b"set s%dk%d 0 0 1\r\n1\r\n" % (slot, i), b"STORED\r\n")
        assert kv.stat("copies_queued") == 400
        kv.change(workers=1)
        kv.hup()
        wait_for(lambda: kv.stat("curr_connections") ==
                 kv.slots()[0]["curr_connections"])
        assert len(kv.worker_pids()) == 4
        # Those that are under way to it have been overtaken by none.
        for slot, c in each.items():
            c.ask(b"set s%dk0 0 0 1\r\n1\r\n" % slot, b"STORED\r\n")
        gate.gate.set()
        kv.wait_reloaded(1)
        wait_for(lambda: kv.stat("copies_queued") == 0)
        stats = kv.stats()
        assert stats["copies"] == stats["copies_sent"] == 404
        assert stats["copies_lost"] == 0
        assert len(gate.store) == 400


def test_a_synchronous_write_is_answered_before_its_client_goes(memcached):
    with Gate() as gate, Kvproxy([memcached], workers=4, backup=[gate],
                                 service={"sync_str": "s"}) as kv, \
            kv.client_on_each() as each:
        for slot, c in each.items():
            c.send(b"set s%d 0 0 1\r\n1\r\nget s%d\r\n" % (slot, slot))
        wait_for(lambda: len(gate.requests) == 4)
        kv.change(workers=1)
        kv.hup()
        wait_for(lambda: kv.stat("reloads") == 1)
        assert all(c.is_quiet() for c in each.values())
        gate.gate.set()
        for slot, c in each.items():
            c.expect(b"STORED\r\n" + hit(b"s%d" % slot, b"1"))
        kv.wait_reloaded(1)
        for slot, c in each.items():
            c.ask(b"get s%d\r\n" % slot, hit(b"s%d" % slot, b"1"))


def test_a_worker_that_has_no_descriptor_left_reloads(memcached):
    """It takes the descriptors that an order brings twice for a moment."""
    ports = [free_port() for _ in range(30)]
    kv = Kvproxy([memcached], service={"listen": ""})
    kv.change(service={"listen": " ".join(
        "%s:%d" % (HOST, p) for p in [kv.port] + ports)})
    kv.preexec = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
    with kv, contextlib.ExitStack() as st:
        kv.tick()
        clients = [st.enter_context(kv.client()) for _ in range(200)]
        n = 0
        for c in clients:
            try:
                n += c.ask_line(b"get none\r\n") == b"END\r\n"
            except (Closed, ConnectionError):
                pass
        assert 20 < n < 200 and kv.stat("curr_connections") == n + 1
        for _ in range(3):
            kv.reload()
        # One that would take theirs from the clients is refused.
        kv.change(service={"server_connections": 40})
        assert "worker 0, which has %d clients, would need" % (n + 1) in \
            kv.reload_in_vain()
        kv.reload(service={"server_connections": 1})
        assert kv.stat("curr_connections") == n + 1


def test_a_binary_client_stays_one(memcached):
    """Text that it sends after that is as wrong as before."""
    with Kvproxy([memcached], workers=4) as kv, contextlib.ExitStack() as st:
        clients = [st.enter_context(kv.client()) for _ in range(8)]
        for c in clients:
            c.send(binary.request("noop"))
            assert binary.recv(c).status == 0
        kv.reload(workers=1)
        for c in clients:
            c.send(binary.request("noop", opaque=5) + b"get k\r\n" + b"x" * 24)
            assert binary.recv(c).opaque == 5
            assert c.eof() == b""


def test_P11_pinned_dialects_go_along(memcached):
    """A service of its own for them."""
    port = free_port()
    more = {"second": {"extension": "memcached.so", "hosts": "group",
                       "port": port, "client_proto": "binary"}}
    with Kvproxy([memcached], workers=4, more=more) as kv, \
            contextlib.ExitStack() as st:
        clients = [st.enter_context(Client(port)) for _ in range(8)]
        for c in clients:
            c.send(binary.store("set", b"k", b"v")[:30])
        kv.reload(workers=1)
        for c in clients:
            c.send(binary.store("set", b"k", b"v")[30:])
            assert binary.recv(c).status == 0


def test_a_worker_is_killed_while_clients_are_on_their_way_to_it(memcached):
    """It has not taken them out of its inbox, so they are not lost with
    it."""
    with Kvproxy([memcached], workers=2) as kv, kv.client_on_each() as each:
        kv.lose_workers = True
        slots = kv.slots()
        freeze(slots[0]["pid"])
        # Of slot 1, which gives its clients away.
        kv.ctl.close()
        kv.ctl = None
        c = each[1]
        c.send(b"set k 0 0 1\r")
        kv.change(workers=1)
        kv.hup()
        wait_for(lambda: not os.path.exists("/proc/%d" % slots[1]["pid"]) or
                 "worker 1 has stopped" in kv.logged())
        os.kill(slots[0]["pid"], signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            thaw(slots[0]["pid"])
        c.ask(b"\n1\r\nget k\r\n", b"STORED\r\n" + hit(b"k", b"1"))
        with pytest.raises((Closed, ConnectionError)):
            each[0].ask(b"get k\r\n", hit(b"k", b"1"))


def test_P11_the_others_are_dead_when_a_worker_gives_its_clients(memcached):
    """It keeps them until there is one again."""
    with Kvproxy([memcached], workers=2) as kv:
        kv.lose_workers = True
        kv.wait_connected(memcached)
        mine, theirs = [], []
        while len(mine) < 5 or len(theirs) < 5:
            before = kv.slots()[1]["curr_connections"]
            c = kv.client()
            c.ask_line(b"version\r\n")
            (mine if kv.slots()[1]["curr_connections"] > before else
             theirs).append(c)
        os.kill(kv.slots()[0]["pid"], signal.SIGKILL)
        kv.reload(workers=1)
        for c in mine:
            c.ask(b"get k\r\n", b"END\r\n")
        for c in theirs:
            c.close()


def test_a_stop_while_a_worker_gives_answers_what_has_come():
    gate = threading.Event()
    with FakeBackend(script=lambda conn, r: gate.wait(20) and None) as fake, \
            Kvproxy([fake], workers=2) as kv:
        kv.wait_connected(fake)
        version = kv.version()
        clients = [kv.client() for _ in range(8)]
        for c in clients:
            c.send(b"get k\r\n")
        wait_for(lambda: kv.backend(fake, "requests") == len(clients))
        kv.change(workers=1)
        kv.hup()
        wait_for(lambda: kv.stat("reloads") == 1)
        for c in clients:
            c.send(b"version\r\n")
        os.kill(kv.pid, signal.SIGTERM)
        wait_for(lambda: "told to stop" in kv.logged())
        gate.set()
        for c in clients:
            c.expect(b"END\r\n" + version)
            assert c.eof() == b""
        kv.wait_end()
