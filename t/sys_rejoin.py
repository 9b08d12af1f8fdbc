"""How a host comes back that is to be emptied first."""

import contextlib
import time

from harness import (SLACK, FakeBackend, Kvproxy, Memcached, Relay, binary,
                     wait_for)
from harness.text import expect_failure, hit


def core(interval):
    return {"failover_interval": interval, "recv_timeout": 5000,
            "failover_threshold": 2, "rejoin": "flush"}


def test_E16_a_host_that_fails_while_it_rejoins_stays_out_for_longer():
    """It greets, has no answer to flush_all and closes at any write: it is
    never up, and flaps."""
    interval = 0.3

    def script(conn, r):
        if r.cmd != b"flush_all":
            conn.close()
        return b""

    with FakeBackend() as fake, Memcached() as m, \
            Kvproxy([fake, m], core=core(interval)) as kv, \
            kv.client() as c:
        kv.wait_connected(fake, m)
        request = b"set %s 0 0 1\r\nx\r\n" % fake.key(c)
        fake.script = script
        for n in range(4):
            begin = time.monotonic()
            wait_for(lambda: c.ask_line(request) and
                     kv.backend(fake, "ejections") == n + 1)
            hold = interval * 2 ** (n - 1) if n > 0 else 0
            kv.wait_state(fake, "rejoining", hold + SLACK)
            took = time.monotonic() - begin
            assert took >= hold, (n, took)
        assert kv.backend(fake, "returns") == 0
        wait_for(lambda: fake.requests[-1].cmd == b"flush_all")
        fake.script = None
        fake.conns[-1].send(b"OK\r\n")
        kv.wait_state(fake, "up", SLACK)
        c.ask(request, b"STORED\r\n")
        host = kv.backend(fake)
        assert (host["ejections"], host["returns"]) == (4, 1)


@contextlib.contextmanager
def pair(interval):
    """Two hosts, each at the end of a link that can be cut."""
    with Memcached() as m, Memcached() as n, Relay(m) as a, Relay(n) as b, \
            Kvproxy([a, b], core=core(interval)) as kv, kv.client() as c:
        kv.wait_connected(a, b)
        yield kv, c, a, b


def has(link, key):
    """Has the server behind LINK a value for KEY?"""
    return link.to.ask(b"mg %s\r\n" % key) == b"HD\r\n"


def store(c, key, value):
    c.ask(b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value),
          b"STORED\r\n")


def key_of(c, link):
    """A key that lives behind LINK, written through C."""
    for i in range(1000):
        store(c, b"key%d" % i, b"old")
        if has(link, b"key%d" % i):
            return b"key%d" % i
    raise AssertionError("no key of 1000 lives at " + link.name)


def take_out(kv, link):
    link.cut()
    kv.wait_state(link, "out", SLACK)


def expect_no_reads(kv, c, key, link):
    """No read of KEY is answered, and the errors name LINK's host."""
    for request in (b"get %s\r\n", b"gets %s\r\n", b"gat 9 %s\r\n",
                    b"get %s none\r\n", b"mg %s v\r\n"):
        c.send(request % key)
        expect_failure(c, link)
    with kv.client() as b:
        b.send(binary.request("get", key))
        assert binary.recv(b).status == 0x86


def test_E22_what_is_to_be_emptied_is_not_read_while_all_are_out():
    """One is out and the other stands in for it, until that is out as well;
    the first can be reached again and has what it had, but is held back for a
    second, since it flaps.  It takes writes, and they go with the rest."""
    with pair(1) as (kv, c, a, b):
        key, others = key_of(c, a), key_of(c, b)
        take_out(kv, a)
        a.mend()
        kv.wait_state(a, "up", SLACK)
        store(c, key, b"old")
        take_out(kv, a)
        store(c, key, b"new")
        c.ask(b"get %s\r\n" % key, hit(key, b"new"))
        take_out(kv, b)
        a.mend()
        wait_for(lambda: kv.backend(a, "connected") == 1)
        assert has(a, key)
        expect_no_reads(kv, c, key, a)
        store(c, key, b"newer")
        assert a.to.ask(b"mg %s s\r\n" % key) == b"HD s5\r\n"
        expect_no_reads(kv, c, key, a)
        # Each is asked for its own keys and no other.
        c.send(b"set %s 0 0 1\r\nx\r\n" % others)
        expect_failure(c, b)
        expect_no_reads(kv, c, others, b)
        assert kv.state(a) == "out"	# all this while

        def is_back():
            c.send(b"get %s\r\n" % key)
            assert c.recv_values()[0] == []
            return kv.state(a) == "up"

        wait_for(is_back, 1 + SLACK)
        kv.wait_state(a, "up")
        c.ask(b"get %s\r\n" % key, b"END\r\n")
        assert not has(a, key)
        store(c, key, b"last")
        store(c, others, b"new")	# it stands in for the other
        b.mend()
        kv.wait_state(b, "up", 1 + SLACK)
        c.ask(b"get %s\r\nget %s\r\n" % (others, key),
              b"END\r\n" + hit(key, b"last"))
        assert not has(b, others) and not has(b, key)
        hosts = [kv.backend(link) for link in (a, b)]
        assert [h["ejections"] for h in hosts] == [2, 1]
        assert [h["returns"] for h in hosts] == [2, 1]
