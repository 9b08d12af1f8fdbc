"""Who is asked while a host is out, and how it comes back."""

import contextlib
import os
import signal
import threading
import time

import pytest

from harness import (SLACK, FakeBackend, Kvproxy, Load, Memcached, Relay,
                     binary, wait_for)
from harness.text import FAIL, expect_failure, hit

INTERVAL = 0.4
TIMEOUT = 0.4	# more than a busy machine may stop a server for
CORE = {"failover_interval": INTERVAL, "recv_timeout": int(TIMEOUT * 1000)}


def core(**more):
    return dict(CORE, **more)


@contextlib.contextmanager
def memcacheds(n):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Memcached()) for _ in range(n)]


def held(server, keys):
    """Those of KEYS that SERVER has, with their values."""
    with server.client() as c:
        c.send(b"get " + b" ".join(keys) + b"\r\n")
        values, last = c.recv_values()
        assert last == b"END\r\n", last
        return {key: value for key, _, value in values}


def homes(servers, keys):
    """KEY -> the server that has it."""
    return {key: server for server in servers for key in held(server, keys)}


def spread(c, servers, n=100):
    """Keys of each server, written through C: a list for each of SERVERS."""
    keys = [b"key%d" % i for i in range(n)]
    for key in keys:
        c.ask(b"set %s 0 0 1\r\nx\r\n" % key, b"STORED\r\n")
    found = [sorted(held(s, keys)) for s in servers]
    assert all(found) and sum(map(len, found)) == n
    return found


def ask_all(c, keys):
    """What a get of each says: b"VALUE", b"END" or b"SERVER_ERROR"."""
    said = []
    for key in keys:
        c.send(b"get %s\r\n" % key)
        values, last = c.recv_values()
        said.append(b"VALUE" if values else last.split()[0])
    return said


class Quick:
    """Asserts that its block waited for nothing."""

    def __enter__(self):
        self.begin = time.monotonic()

    def __exit__(self, exc_type, *exc):
        if exc_type is None:
            took = time.monotonic() - self.begin
            assert took < SLACK, took


# Reads and writes apart


READS = {
    "get": (b"get k\r\n", hit(b"k", b"%s")),
    "get of many": (b"get k none\r\n", hit(b"k", b"%s")),
    "mg": (b"mg k v\r\n", b"VA 1\r\n%s\r\n"),
    "binary get": (binary.request("get", b"k"), None),
}
TO_THE_PRIMARY = {
    "gets": b"gets k\r\n",
    "mg with c": b"mg k c v\r\n",
    "gat": b"gat 100 k\r\n",
    "gats": b"gats 100 k\r\n",
    "mg with T": b"mg k T100 v\r\n",
    "mg with N": b"mg k N100 v\r\n",
    "mg with R": b"mg k R100 v\r\n",
    "binary gat": binary.touch("gat", b"k", 100),
}


@pytest.fixture(scope="module")
def split():
    """A primary that says P to all, and a reader that says R."""
    with FakeBackend() as primary, FakeBackend() as reader:
        primary.script = lambda conn, r: r.hit(b"P") if r.is_read() else None
        reader.script = lambda conn, r: r.hit(b"R") if r.is_read() else None
        with Kvproxy([primary], read=[reader]) as kv:
            kv.wait_connected(primary, reader)
            yield kv, primary, reader


def said_by(c, request):
    """b"P" or b"R": whose value answers REQUEST."""
    c.send(request)
    if request[0] == binary.REQUEST:
        return binary.recv(c).value
    line = c.recv_line()
    assert line.split()[0] in (b"VALUE", b"VA"), line
    value = c.recv_line()[:-2]
    if line.startswith(b"VALUE"):
        values, last = c.recv_values()
        assert last == b"END\r\n", last
    return value


@pytest.mark.parametrize("request_", [r[0] for r in READS.values()],
                         ids=list(READS))
def test_plain_reads_go_to_the_read_group(split, request_):
    kv, primary, reader = split
    asked = len(primary.requests)
    with kv.client() as c:
        assert said_by(c, request_) == b"R"
    assert len(primary.requests) == asked


@pytest.mark.parametrize("request_", list(TO_THE_PRIMARY.values()),
                         ids=list(TO_THE_PRIMARY))
def test_reads_that_change_or_bring_a_token_go_to_the_primary(split, request_):
    kv, primary, reader = split
    asked = len(reader.requests)
    with kv.client() as c:
        assert said_by(c, request_) == b"P"
    assert len(reader.requests) == asked


def test_writes_go_to_the_primary_alone(split):
    kv, primary, reader = split
    asked = len(reader.requests)
    with kv.client() as c:
        c.ask(b"set k 0 0 1\r\nx\r\ntouch k 5\r\nincr k 1\r\ndelete k\r\n",
              b"STORED\r\nTOUCHED\r\n1\r\nDELETED\r\n")
    assert len(reader.requests) == asked


def test_a_binary_read_of_the_read_group_has_no_token(split):
    """One of another server would be taken for the primary's.  A read that
    changes something asks the primary and has its token."""
    kv, primary, reader = split
    with kv.client() as c:
        for request, value, cas in (
                (binary.request("get", b"k"), b"R", 0),
                (binary.request("getk", b"k"), b"R", 0),
                (binary.touch("gat", b"k", 9), b"P", 7)):
            c.send(request)
            got = binary.recv(c)
            assert (got.value, got.cas) == (value, cas)


def test_with_binary_cas_binary_reads_ask_the_primary():
    with FakeBackend() as primary, FakeBackend() as reader:
        primary.store[b"k"] = b"P"
        with Kvproxy([primary], read=[reader],
                     service={"binary_cas": "on"}) as kv, kv.client() as c:
            c.send(binary.request("get", b"k"))
            got = binary.recv(c)
            assert (got.value, got.cas) == (b"P", 7)
            assert reader.requests == []
        with Kvproxy([primary], read=[reader],
                     service={"binary_cas": "on"}) as kv, kv.client() as c:
            c.ask(b"get k\r\n", b"END\r\n")	# in text it is as it was


def test_a_read_group_that_is_down_falls_back_to_the_primary():
    with Memcached() as primary, Memcached() as reader, \
            Kvproxy([primary], core=CORE, read=[reader], workers=2) as kv, \
            kv.client() as c:
        kv.wait_connected(primary, reader)
        primary.ask(b"set k 0 0 1\r\nP\r\n", b"STORED\r\n")
        reader.ask(b"set k 0 0 1\r\nR\r\n", b"STORED\r\n")
        c.ask(b"get k\r\n", hit(b"k", b"R"))
        reader.kill()
        kv.wait_state(reader, "out", INTERVAL + SLACK)
        wait_for(lambda: ask_all(c, [b"k"]) == [b"VALUE"], SLACK)
        for _ in range(20):
            c.ask(b"get k\r\n", hit(b"k", b"P"))
        reader.start()
        kv.wait_state(reader, "up", 2 * INTERVAL + SLACK)
        wait_for(lambda: ask_all(c, [b"k"]) == [b"END"])
        assert kv.state(primary) == "up"


def test_a_host_of_the_read_group_is_stood_in_for_by_the_others():
    with memcacheds(3) as servers:
        primary, readers = servers[0], servers[1:]
        with Kvproxy([primary], core=CORE, read=readers) as kv, \
                kv.client() as c:
            kv.wait_connected(*servers)
            for r in readers:
                r.ask(b"set k 0 0 1\r\nR\r\n", b"STORED\r\n")
            for dead in readers:
                c.ask(b"get k\r\n", hit(b"k", b"R"))
                dead.kill()
                kv.wait_state(dead, "out", INTERVAL + SLACK)
                other = readers[dead is readers[0]]
                c.ask(b"get k\r\n", hit(b"k", b"R"))
                dead.start()
                kv.wait_state(dead, "up", 2 * INTERVAL + SLACK)
                dead.ask(b"set k 0 0 1\r\nR\r\n", b"STORED\r\n")
                assert kv.state(other) == "up"


def test_a_read_group_that_is_the_group_of_hosts_splits_nothing():
    with FakeBackend() as fake, \
            Kvproxy([fake], service={"hosts_read": "group"}) as kv, \
            kv.client() as c:
        fake.store[b"k"] = b"v"
        c.ask(b"get k\r\ngets k\r\n", hit(b"k", b"v") +
              b"VALUE k 0 1 7\r\nv\r\nEND\r\n")
        assert kv.backend(fake, "connects") == 1
        assert "hosts_read" not in kv.logged()


# One of four is killed under load


def check_errors(load, since, mine, down, until):
    """Errors of keys in MINE alone, in the DOWN seconds after SINCE."""
    errors = load.errors_since(since - 1)
    assert all(e[2] in mine for e in errors), \
        [e for e in errors if e[2] not in mine][:3]
    late = [e for e in errors if e[1] > since + down + SLACK and e[0] < until]
    assert not late, (late[0][0] - since, late[0])


@pytest.mark.parametrize("failover", ["rehash", "backup", "none"])
def test_one_of_four_is_killed_under_load(failover):
    """Twice; it comes back empty each time."""
    with memcacheds(6) as servers:
        hosts, backups, victim = servers[:4], servers[4:], servers[1]
        with Kvproxy(hosts, core=core(failover=failover), workers=2,
                     service={"server_connections": 2}, backup=backups) as kv:
            wait_for(lambda: all(kv.backend(s, "connected") == 4
                                 for s in servers))
            with Load(kv) as load:
                wait_for(lambda: load.check() or
                         len(load.acked) == len(load.keys))
                mine = set(held(victim, load.keys))
                assert 0 < len(mine) < len(load.keys) / 2
                assert load.errors == []
                for outage in (1, 2):
                    begin = time.monotonic()
                    victim.kill()
                    kv.wait_state(victim, "out", INTERVAL + SLACK)
                    assert kv.offline() == [victim.name]
                    out = time.monotonic()
                    wait_for(lambda: time.monotonic() > begin + INTERVAL +
                             TIMEOUT)
                    asked = load.answers
                    wait_for(lambda: load.check() or
                             load.answers > asked + 4 * len(load.keys))
                    if failover == "none":
                        fast = [e for e in load.errors_since(
                            out + TIMEOUT + 0.1)]
                        assert fast and min(e[1] - e[0] for e in fast) < 0.05
                        assert {e[2] for e in fast} == mine
                    else:
                        quiet = load.errors_since(begin + INTERVAL + TIMEOUT +
                                                  SLACK)
                        assert not quiet, quiet[0]
                        check_errors(load, begin, mine, INTERVAL + TIMEOUT,
                                     time.monotonic())
                    victim.start()
                    kv.wait_state(victim, "up", 2 * INTERVAL + SLACK)
                    up = time.monotonic()
                    assert kv.offline() == []
                    assert kv.backend(victim, "ejections") == outage
                    assert kv.backend(victim, "returns") == outage
                    wait_for(lambda: load.check() or
                             set(held(victim, load.keys)) == mine)
                    # Whoever stood in is asked no more.
                    wait_for(lambda: time.monotonic() > up + 0.6)
                    assert not load.errors_since(up + 0.5)
                assert {e[2] for e in load.errors} <= mine
            stats = kv.stats()
            assert (stats["stand_ins"] > 0) == (failover != "none")
            for s in servers:
                if s is not victim:
                    assert kv.backend(s, "ejections") == 0, s.name
                    assert kv.backend(s, "failed") == 0, s.name


def test_what_is_written_to_a_stand_in_lives_for_failover_ttl():
    with memcacheds(3) as servers, \
            Kvproxy(servers, core=core(failover_ttl=100)) as kv, \
            kv.client() as c:
        kv.wait_connected(*servers)
        mine = spread(c, servers)[0]
        servers[0].kill()
        kv.wait_state(servers[0], "out", INTERVAL + SLACK)
        key = mine[0]
        for request in (b"set %s 0 0 1\r\nx\r\n", b"set %s 0 5000 1\r\nx\r\n",
                        b"ms %s 1 T0\r\nx\r\n"):
            c.send(request % key)
            assert c.recv_line() in (b"STORED\r\n", b"HD\r\n")
            lives = [s.ask(b"mg %s t\r\n" % key) for s in servers[1:]]
            lives.remove(b"EN\r\n")
            assert 90 <= int(lives[0].split()[1][1:]) <= 100, lives
        c.ask(b"set %s 0 50 1\r\nx\r\n" % key, b"STORED\r\n")
        lives = [s.ask(b"mg %s t\r\n" % key) for s in servers[1:]]
        lives.remove(b"EN\r\n")
        assert 40 <= int(lives[0].split()[1][1:]) <= 50, lives
        assert kv.stat("stand_ins") == 4


def test_no_key_moves_but_those_of_the_host_that_is_out():
    with memcacheds(4) as servers, Kvproxy(servers, core=CORE) as kv, \
            kv.client() as c:
        kv.wait_connected(*servers)
        spread(c, servers, 400)
        keys = [b"key%d" % i for i in range(400)]
        before = homes(servers, keys)
        servers[2].kill()
        kv.wait_state(servers[2], "out", INTERVAL + SLACK)
        said = ask_all(c, keys)
        for key, what in zip(keys, said):
            assert what == (b"END" if before[key] is servers[2] else b"VALUE")
        assert kv.stat("stand_ins") == said.count(b"END")


# Return


def test_a_host_that_is_flushed_first_shows_nothing_stale():
    """Its link is cut and it keeps what it had; others take its keys, twice,
    the second time when what they kept of the first has passed."""
    ttl = 2
    with memcacheds(3) as servers, Relay(servers[0]) as link, \
            Kvproxy([link] + servers[1:], workers=2,
                    core=core(rejoin="flush", failover_ttl=ttl),
                    service={"server_connections": 2}) as kv:
        wait_for(lambda: kv.backend(link, "connected") == 4)
        with Load(kv, n=12) as load:
            wait_for(lambda: load.check() or
                     len(load.acked) == len(load.keys))
            mine = set(held(servers[0], load.keys))
            assert mine
            for outage in (1, 2):
                old = held(servers[0], mine)
                link.cut()
                kv.wait_state(link, "out", INTERVAL + SLACK)
                asked = load.answers
                wait_for(lambda: load.check() or
                         load.answers > asked + 4 * len(load.keys))
                # It has what it had, and others have newer values.
                assert held(servers[0], mine) == old or outage == 2
                assert all(load.acked[k] > int(old[k]) for k in old)
                link.mend()
                kv.wait_state(link, "up", 2 * INTERVAL + SLACK)
                ended = time.monotonic()
                wait_for(lambda: load.check() or
                         set(held(servers[0], mine)) == mine)
                wait_for(lambda: time.monotonic() > ended + ttl + 1 or
                         outage == 2)
            assert load.stale == []
            assert {e[2] for e in load.errors} <= mine
        assert load.stale == []
        assert kv.backend(link, "returns") == 2


def test_while_a_host_rejoins_it_takes_writes_and_its_reads_are_misses():
    """The one that empties it is slow; another reader and a writer are not
    kept waiting, and nothing of before is shown."""
    gate = threading.Event()

    def script(conn, r):
        if r.cmd == b"flush_all":
            gate.wait(20)
            fake.store.clear()

    with FakeBackend(script=script) as fake, Memcached() as m, \
            Kvproxy([fake, m], core=core(rejoin="flush", recv_timeout=5000),
                    service={"server_connections": 2}) as kv, \
            kv.client() as c:
        kv.wait_connected(fake, m)
        key = fake.key(c)
        fake.store[key] = b"old"
        c.ask(b"get %s\r\n" % key, hit(key, b"old"))
        greet, fake.greeting = fake.greeting, lambda line: b"NO\r\n"
        for conn in list(fake.conns):
            conn.close()
        kv.wait_state(fake, "out", INTERVAL + SLACK)
        fake.greeting = greet
        kv.wait_state(fake, "rejoining", 2 * INTERVAL + SLACK)
        assert kv.offline() == [fake.name]
        for request in (b"get %s\r\n", b"gets %s\r\n", b"gat 9 %s\r\n"):
            c.ask(request % key, b"END\r\n")
        c.ask(b"mg %s v\r\n" % key, b"EN\r\n")
        assert kv.stat("rejoin_misses") == 4
        # What depends on the old value finds none either.
        before = len(fake.requests)
        c.send(b"incr %s 1\r\nappend %s 0 0 1\r\nx\r\n" % (key, key))
        gate.set()
        assert [c.recv_line() for _ in range(2)][1] == b"STORED\r\n"
        assert [r.cmd for r in fake.requests[before:]
                if r.key == key] == [b"md", b"ma", b"md", b"ms"]
        fake.store.clear()
        kv.wait_state(fake, "up", SLACK)
        c.ask(b"get %s\r\n" % key, b"END\r\n")
        c.ask(b"set %s 0 0 3\r\nnew\r\nget %s\r\n" % (key, key),
              b"STORED\r\n" + hit(key, b"new"))
        flushes = [r for r in fake.requests if r.cmd == b"flush_all"]
        assert len(flushes) == 1


def test_a_host_that_cannot_be_emptied_is_not_read_and_the_log_says_why():
    with Memcached("-F") as m, Memcached() as other, Relay(m) as link, \
            Kvproxy([link, other], core=core(rejoin="flush")) as kv, \
            kv.client() as c:
        kv.wait_connected(link, other)
        key = spread(c, (m, other))[0][0]
        link.cut()
        kv.wait_state(link, "out", INTERVAL + SLACK)
        link.mend()
        kv.wait_state(link, "rejoining", 2 * INTERVAL + SLACK)
        wait_for(lambda: "%s: is not read, for it cannot be emptied" %
                 link.name in kv.logged())
        assert kv.backend(link, "state") == "rejoining"
        c.ask(b"get %s\r\nincr %s 1\r\n" % (key, key),
              b"END\r\nNOT_FOUND\r\n")


def test_E22_as_is_brings_back_what_was_there():
    with memcacheds(2) as servers, Relay(servers[0]) as link, \
            Kvproxy([link, servers[1]], core=CORE) as kv, kv.client() as c:
        kv.wait_connected(link, servers[1])
        key = spread(c, servers)[0][0]
        c.ask(b"set %s 0 0 3\r\nold\r\n" % key, b"STORED\r\n")
        link.cut()
        kv.wait_state(link, "out", INTERVAL + SLACK)
        c.ask(b"set %s 0 0 3\r\nnew\r\nget %s\r\n" % (key, key),
              b"STORED\r\n" + hit(key, b"new"))
        link.mend()
        kv.wait_state(link, "up", 2 * INTERVAL + SLACK)
        c.ask(b"get %s\r\n" % key, hit(key, b"old"))
        assert servers[0].ask(b"flush_all\r\n") == b"OK\r\n"
        assert kv.stat("rejoin_misses") == 0


def test_E15_a_host_returns_only_when_it_was_greeted():
    """That it takes connections is not enough."""
    with FakeBackend() as fake, Memcached() as m, \
            Kvproxy([fake, m], core=core(connect_timeout=300)) as kv, \
            kv.client() as c:
        kv.wait_connected(fake, m)
        greet, fake.greeting = fake.greeting, lambda line: b""
        for conn in list(fake.conns):
            conn.close()
        kv.wait_state(fake, "out", 3)
        tried = len(fake.conns)
        wait_for(lambda: len(fake.conns) > tried + 2)
        assert kv.state(fake) == "out"
        assert kv.backend(fake, "returns") == 0
        assert c.ask_line(b"get k\r\n") == b"END\r\n"
        fake.greeting = greet
        kv.wait_state(fake, "up", 2 * INTERVAL + SLACK)
        assert kv.backend(fake, "returns") == 1


def test_E16_a_host_that_flaps_stays_out_for_longer_each_time():
    """It is cut as soon as it is back."""
    with memcacheds(2) as servers, Relay(servers[0]) as link, \
            Kvproxy([link, servers[1]],
                    core=core(failover_interval=0.2)) as kv:
        kv.wait_connected(link, servers[1])
        out = []
        for i in range(5):
            link.cut()
            kv.wait_state(link, "out", 0.2 + SLACK)
            link.mend()
            begin = time.monotonic()
            kv.wait_state(link, "up", 0.2 * 2 ** i + SLACK)
            out.append(time.monotonic() - begin)
        assert out[4] > out[2] > max(out[0], 0.2), out
        assert out[4] >= 1.5, out
        assert kv.backend(link, "ejections") == 5
        assert kv.state(servers[1]) == "up"


# A host that is stopped


def test_a_stopped_host_fails_at_its_deadline_and_then_fast():
    with memcacheds(2) as servers, \
            Kvproxy(servers, core=core(failover="none"),
                    service={"server_connections": 2}) as kv, \
            kv.client() as c, kv.client() as other:
        wait_for(lambda: all(kv.backend(s, "connected") == 2
                             for s in servers))
        mine, others = spread(c, servers)
        servers[0].freeze()
        frozen, times = time.monotonic(), []
        while kv.state(servers[0]) != "out":
            begin = time.monotonic()
            assert begin < frozen + INTERVAL + 2 * TIMEOUT + SLACK
            c.send(b"get %s\r\n" % mine[0])
            expect_failure(c, servers[0])
            times.append(time.monotonic() - begin)
            other.ask(b"get %s\r\n" % others[0], hit(others[0], b"x"))
        assert all(TIMEOUT - 0.05 <= t <= TIMEOUT + SLACK for t in times[:2])
        begin = time.monotonic()
        for _ in range(50):
            c.send(b"get %s\r\n" % mine[0])
            expect_failure(c, servers[0])
        assert time.monotonic() - begin < TIMEOUT + SLACK
        assert kv.backend(servers[0], "timeouts") <= len(times)
        with Quick():
            for key in others:
                other.ask(b"get %s\r\n" % key, hit(key, b"x"))
        servers[0].thaw()
        kv.wait_state(servers[0], "up", 2 * INTERVAL + SLACK)
        # Whatever it says late is not taken for another's answer.
        for key in mine + others:
            c.ask(b"get %s\r\n" % key, hit(key, b"x"))
        assert kv.backend(servers[0], "desyncs") == 0


def test_late_replies_of_a_host_that_was_stopped_go_to_nobody():
    """It wakes up before it is taken out."""
    with Memcached() as m, \
            Kvproxy([m], core={"recv_timeout": 300,
                               "failover_threshold": 1000}) as kv, \
            kv.client() as c1, kv.client() as c2:
        kv.wait_connected(m)
        for i in range(16):
            c1.ask(b"set k%d 0 0 2\r\n%02d\r\n" % (i, i), b"STORED\r\n")
        m.freeze()
        c1.send(b"".join(b"get k%d\r\n" % i for i in range(16)))
        for i in range(16):
            expect_failure(c1, m)
        c2.send(b"get k3\r\n")
        kv.tick()
        m.thaw()
        c2.expect(hit(b"k3", b"03"))
        c1.ask(b"get k5\r\n", hit(b"k5", b"05"))
        assert kv.stat("late_replies") == 16
        assert kv.backend(m, "connects") == 1


# The last host


def test_E13_all_hosts_are_out_and_each_is_served_again_when_it_returns():
    with memcacheds(3) as servers, \
            Kvproxy(servers, core=CORE, workers=2) as kv, \
            kv.client() as c:
        kv.wait_connected(*servers)
        mine = spread(c, servers)
        for s in servers:
            s.kill()
        for s in servers:
            kv.wait_state(s, "out", INTERVAL + SLACK)
        assert sorted(kv.offline()) == sorted(s.name for s in servers)
        with Quick():
            for keys in mine:
                assert set(ask_all(c, keys)) == {b"SERVER_ERROR"}
        for i, s in enumerate(servers):
            s.start()
            kv.wait_state(s, "up", 2 * INTERVAL + SLACK)
            # Those who are back serve all.
            wait_for(lambda: {w for keys in mine for w in ask_all(c, keys)} ==
                     {b"END"}, SLACK)
            assert len(kv.offline()) == 2 - i
        for keys, s in zip(mine, servers):
            c.ask(b"set %s 0 0 1\r\ny\r\n" % keys[0], b"STORED\r\n")
            assert held(s, keys) == {keys[0]: b"y"}


def test_the_only_host_is_served_again_when_it_returns():
    with Memcached() as m, Kvproxy([m], core=CORE) as kv, kv.client() as c:
        kv.wait_connected(m)
        m.kill()
        kv.wait_state(m, "out", INTERVAL + SLACK)
        with Quick():
            assert set(ask_all(c, [b"k"] * 50)) == {b"SERVER_ERROR"}
        m.start()
        kv.wait_state(m, "up", 2 * INTERVAL + SLACK)
        c.ask(b"set k 0 0 1\r\nx\r\n", b"STORED\r\n")


# What counts as a failure


def drop_one(fake, key):
    """Never answer the next request for KEY."""
    dropped = threading.Event()

    def script(conn, r):
        if r.key == key and not dropped.is_set():
            dropped.set()
            return b""
        return b"" if dropped.is_set() and conn is first[0] else None

    first = [fake.conns[-1]]
    fake.script = script
    return dropped


def pipeline(c, key, n=50):
    """N gets in one go; how many failed."""
    c.send(b"get %s\r\n" % key * n)
    failed = 0
    for _ in range(n):
        values, last = c.recv_values()
        failed += last.startswith(FAIL)
    return failed


@pytest.mark.parametrize("good_between", [True, False],
                         ids=["with a good reply between", "without"])
def test_E14_a_dropped_reply_is_one_event_however_much_it_fails(good_between):
    """The connection is silent from there on; a second one ejects."""
    with FakeBackend() as fake, Memcached() as m, \
            Kvproxy([fake, m], core={"recv_timeout": 400,
                                     "failover_interval": 0.2,
                                     "failover": "none"},
                    service={"client_window": 64}) as kv, \
            kv.client() as c:
        kv.wait_connected(fake, m)
        key = fake.key(c)
        for _ in range(5):	# a window of more than 50
            assert pipeline(c, key) == 0
        for n in (1, 2):
            drop_one(fake, key)
            assert pipeline(c, key) == 50
            assert kv.backend(fake, "events") == n
            if n == 2:
                break
            assert kv.state(fake) == "up"
            conn = fake.conns[-1]
            assert conn.gone.wait(10)	# it was silent for too long
            wait_for(lambda: kv.backend(fake, "connected") == 1)
            if good_between:
                fake.script = None
                assert pipeline(c, key, 1) == 0
        if good_between:
            fake.script = None
            wait_for(lambda: kv.backend(fake, "silences") == 2)
            wait_for(lambda: kv.backend(fake, "connected") == 1)
            assert pipeline(c, key) == 0
            assert kv.backend(fake, "ejections") == 0
        else:
            wait_for(lambda: kv.backend(fake, "ejections") == 1, SLACK)


def test_E14_some_connections_die_while_others_answer():
    """Three of twenty are dropped again and again: good replies of the others
    end the count."""
    with FakeBackend() as fake, \
            Kvproxy([fake], core=core(server_connections=20)) as kv:
        wait_for(lambda: kv.backend(fake, "connected") == 20)
        clients = [kv.client() for _ in range(40)]
        lost = 0
        for turn in range(6):
            live = [c for c in fake.conns if not c.gone.is_set()]
            for victim in live[:3]:
                victim.close()
                lost += 1
                for c in clients:
                    c.send(b"get k\r\n")
                for c in clients:
                    c.recv_values()
        wait_for(lambda: kv.backend(fake, "connected") == 20)
        for c in clients:
            c.close()
        host = kv.backend(fake)
        assert host["closes"] + host["idle_closes"] == lost
        assert host["ejections"] == 0


def test_E14_a_lost_packet_under_load_is_one_event():
    """The link is still for a little more than two recv_timeouts, as TCP is
    until it sends again; then all is answered, late."""
    n = 10
    with memcacheds(2) as servers, Relay(servers[0]) as link, \
            Kvproxy([link, servers[1]],
                    core={"recv_timeout": 100, "failover_interval": 2,
                          "failover_threshold": 2}) as kv:
        kv.wait_connected(link, servers[1])
        with Load(kv, n=n) as load:
            wait_for(lambda: load.check() or
                     len(load.acked) == len(load.keys))
            for stalls in (1, 2):
                timeouts = kv.backend(link, "timeouts")
                link.stall()
                # More than there are connections: one has failed twice.
                wait_for(lambda: kv.backend(link, "timeouts") > timeouts + n)
                link.mend()
                wait_for(lambda: kv.stat("late_replies") ==
                         kv.backend(link, "timeouts"))
                assert kv.backend(link, "events") == stalls
            asked = load.answers
            wait_for(lambda: load.check() or
                     load.answers > asked + 2 * len(load.keys))
        host = kv.backend(link)
        assert (host["state"], host["ejections"]) == ("up", 0)
        # It is the connection of before.
        assert (host["connects"], host["silences"]) == (1, 0)
        assert [e[3] for e in load.errors] == \
            [b"SERVER_ERROR %s timed out\r\n" % link.name.encode()] * \
            host["timeouts"]
        assert load.stale == []
        assert load.missed == 0


def test_E14_a_good_reply_ends_the_count_though_its_worker_dies():
    """Two failures of one worker, each followed by a good reply of the
    other's, which is killed."""
    with FakeBackend() as fake, FakeBackend() as other, \
            Kvproxy([fake, other], workers=2,
                    core=core(failover_threshold=2)) as kv, \
            kv.client_on_each() as clients:
        kv.lose_workers = True
        kv.wait_connected(fake, other)
        key = fake.key(clients[0])
        store = b"set %s 0 0 1\r\nx\r\n" % key

        def fail():
            fake.script = lambda conn, r: conn.close() or b""
            clients[0].send(store)
            expect_failure(clients[0], fake)
            fake.script = None
            kv.wait_connected(fake)
            return kv.backend(fake, "events")

        for n in (1, 2):
            assert fail() == n
            clients[1].ask(store, b"STORED\r\n")
        victim = kv.slots()[1]["pid"]
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: victim not in kv.worker_pids() and kv.all_workers())
        kv.wait_connected(fake)
        # Who takes one host out has looked at all.
        other.stop()
        kv.wait_state(other, "out", INTERVAL + SLACK)
        assert kv.state(fake) == "up"
        # And from here on two are two.
        assert fail() == 3
        assert kv.backend(fake, "ejections") == 0
        assert fail() == 4
        wait_for(lambda: kv.backend(fake, "ejections") == 1, INTERVAL + SLACK)


def test_an_idle_close_is_no_event():
    with FakeBackend() as fake, Memcached() as m, \
            Kvproxy([fake, m], core=CORE) as kv:
        kv.wait_connected(fake, m)
        for i in range(4):
            fake.conns[-1].close()
            wait_for(lambda: kv.backend(fake, "idle_closes") == i + 1)
            wait_for(lambda: kv.backend(fake, "connected") == 1)
        assert kv.backend(fake, "events") == 0
        assert kv.backend(fake, "ejections") == 0


def test_the_last_event_of_the_threshold_ejects_at_once():
    """The master does not wait for failover_interval."""
    with Memcached() as m, FakeBackend() as fake, \
            Kvproxy([fake, m], core={"failover_interval": 30}) as kv:
        kv.wait_connected(fake, m)
        fake.stop()
        kv.wait_state(fake, "out", SLACK)
        assert kv.state(m) == "up"


def test_events_of_all_workers_are_added_up():
    """Each of two workers has one; the threshold is two."""
    with Memcached() as m, FakeBackend() as fake, \
            Kvproxy([fake, m], workers=2,
                    core=core(failover_threshold=2)) as kv:
        wait_for(lambda: kv.backend(fake, "connected") == 2)
        fake.stop()
        kv.wait_state(fake, "out", INTERVAL + SLACK)
        assert kv.backend(fake, "events") >= 2


# Reads of many keys


@pytest.mark.parametrize("mode", ["error", "miss"])
def test_E20_a_get_of_many_while_one_of_three_is_out(mode):
    """It is no error any more when another stands in; with failover=none it
    stays one."""
    for failover in ("rehash", "none"):
        with memcacheds(3) as servers, \
                Kvproxy(servers, core=core(read_failure=mode,
                                           failover=failover)) as kv, \
                kv.client() as c:
            kv.wait_connected(*servers)
            mine = spread(c, servers)
            servers[0].kill()
            kv.wait_state(servers[0], "out", INTERVAL + SLACK)
            c.send(b"get %s\r\n" % b" ".join(sum(mine, [])))
            values, last = c.recv_values()
            if failover == "none" and mode == "error":
                assert values == [] and last.startswith(FAIL)
            else:
                assert last == b"END\r\n"
                assert [v[0] for v in values] == mine[1] + mine[2]
            failed = kv.stat("failed_as_miss")
            assert failed == (len(mine[0]) if
                              (failover, mode) == ("none", "miss") else 0)


def test_E24_writes_behind_a_host_that_dies_are_done_once_or_fail():
    """incr under load: no counter is ever ahead of what was asked."""
    with Memcached() as m, Memcached() as other, Relay(m) as link, \
            Kvproxy([link, other], core=CORE) as kv, kv.client() as c:
        kv.wait_connected(link, other)
        key = spread(c, [m, other])[0][0]
        c.ask(b"set %s 0 0 1\r\n0\r\n" % key, b"STORED\r\n")
        n = 400
        cutter = threading.Thread(target=lambda: (
            wait_for(lambda: int(held(m, [key])[key]) > 20), link.cut()))
        cutter.start()
        said = []
        for _ in range(n):
            said.append(c.ask_line(b"incr %s 1\r\n" % key))
        cutter.join()
        done = [int(s) for s in said if s.strip().isdigit()]
        failed = sum(s.startswith(FAIL) for s in said)
        at_home = int(held(m, [key])[key])
        assert done == list(range(1, len(done) + 1))
        assert len(done) <= at_home <= len(done) + failed


# Greetings


def test_a_host_that_has_never_greeted_is_asked_nothing():
    """A worker waits for it for two seconds at the most, then serves."""
    with FakeBackend(on_accept=lambda conn: time.sleep(8)) as mute, \
            Kvproxy([mute], core=core(connect_timeout=6000)) as kv:
        time.sleep(2.5)
        with kv.client() as c:
            line = c.ask_line(b"get a\r\n")
        assert line.startswith(FAIL)


def test_E15_a_host_that_was_down_at_the_start_is_met_by_all_workers():
    """One connection's greeting puts it back; others have greeted never."""
    with Memcached() as m, Memcached() as other, Relay(m) as link:
        link.cut()
        with Kvproxy([link, other], workers=2,
                     core=core(server_connections=2)) as kv:
            kv.wait_state(link, "out")
            pids = kv.worker_pids()
            clients = [kv.client() for _ in range(8)]
            link.mend()
            until = time.monotonic() + 3
            while time.monotonic() < until:
                for c in clients:
                    c.send(b"get a\r\nget b\r\nget c\r\nget d\r\n")
                    for _ in range(4):
                        line = c.recv_line()
                        assert line == b"END\r\n" or line.startswith(FAIL)
            assert kv.state(link) == "up"
            assert kv.worker_pids() == pids
            for c in clients:
                c.close()


def test_E16_a_silence_while_a_host_is_out_does_not_keep_it_out():
    """It is connected again and answers, but is held back: it flaps."""
    with Memcached() as m, Relay(m) as link, \
            Kvproxy([link], core=core(failover_interval=1)) as kv:
        kv.wait_connected(link)

        def poke():
            with kv.client() as c:
                c.ask_line(b"get k\r\n")

        def cut():
            link.cut()
            wait_for(lambda: poke() or kv.state(link) == "out", 5)
            link.mend()

        cut()
        kv.wait_state(link, "up")
        cut()
        wait_for(lambda: kv.backend(link, "connected") >= 1, 5)
        link.stall()
        poke()
        time.sleep(.05)
        link.mend()
        kv.wait_state(link, "up", 10)
