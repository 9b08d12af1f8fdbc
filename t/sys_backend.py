"""What backends may do to a proxy, and what its clients see of it."""

import threading
import time

import pytest

from harness import (SLACK, Blackhole, FakeBackend, Kvproxy, Memcached,
                     cpu_seconds, free_port, wait_for)
from harness.text import FAIL, expect_failure, hit

MIB = 1024 * 1024
WRITES = [b"set k 0 0 1\r\nx\r\n", b"add k 0 0 1\r\nx\r\n",
          b"replace k 0 0 1\r\nx\r\n", b"append k 0 0 1\r\nx\r\n",
          b"prepend k 0 0 1\r\nx\r\n", b"cas k 0 0 1 5\r\nx\r\n",
          b"incr k 1\r\n", b"decr k 1\r\n", b"delete k\r\n",
          b"touch k 100\r\n"]


@pytest.fixture(params=["meta", "text"])
def dialect(request):
    return request.param


@pytest.fixture
def fake(dialect):
    with FakeBackend(dialect) as f:
        yield f


def check_served(kv, fake, client):
    """The host serves, and nothing unasked stands before the answer."""
    fake.store[b"after"] = b"fine"
    fake.script = None
    client.ask(b"get after\r\n", hit(b"after", b"fine"))


def for_key(key, action):
    """A script for requests for KEY; the others get the default."""
    return lambda conn, req: action(conn, req) if req.key == key else None


class Elapsed:
    """Asserts that its block took MOST seconds at most, and some slack."""

    def __init__(self, most, least=0):
        self.most, self.least = most, least

    def __enter__(self):
        self.begin = time.monotonic()

    def __exit__(self, exc_type, *exc):
        if exc_type is None:
            took = time.monotonic() - self.begin
            assert self.least <= took <= self.most + SLACK, took


# Replies that are not what was asked for


def test_another_opaque_closes_the_connection_and_leaks_nothing():
    def swap(conn, req):
        return req.hit(b"secret of another", opaque=b"4000000000")

    with FakeBackend(script=swap) as fake, Kvproxy([fake]) as kv, \
            kv.client() as c:
        c.send(b"get k\r\n")
        expect_failure(c)
        assert kv.backend(fake, "desyncs") >= 1
        assert kv.stat("fail_protocol") == 1
        assert fake.conns[0].gone.wait(10)
        check_served(kv, fake, c)


def test_swapped_replies_reach_nobody():
    """Both replies are there and well made, in the wrong order."""
    held = []

    def script(conn, req):
        held.append(req)
        if len(held) == 1:
            return b""
        if len(held) > 2:
            return req.hit(b"for " + req.key)
        a, b = held
        return b.hit(b"for " + b.key) + a.hit(b"for " + a.key)

    with FakeBackend(script=script) as fake, Kvproxy([fake]) as kv, \
            kv.client() as c1, kv.client() as c2:
        c1.send(b"get one\r\n")
        wait_for(lambda: fake.requests)
        c2.send(b"get two\r\n")
        for c, key in ((c1, b"one"), (c2, b"two")):
            line = c.recv_line()
            if not line.startswith(FAIL):
                assert line + c.recv_until(b"END\r\n") == \
                    hit(key, b"for " + key)
        assert kv.backend(fake, "desyncs") >= 1


def test_a_write_behind_a_desync_fails_and_is_not_repeated(fake):
    def script(conn, req):
        # The lie goes out when all three are here.
        return b"GARBAGE\r\n" if req.key == b"w3" else b""

    fake.script = script
    with Kvproxy([fake]) as kv, kv.client() as c:
        c.send(b"".join(b"set w%d 0 0 1\r\nx\r\n" % i for i in (1, 2, 3)))
        for _ in range(3):
            expect_failure(c)
        check_served(kv, fake, c)
        assert [fake.seen(b"w%d" % i) for i in (1, 2, 3)] == [1, 1, 1]


def test_E3_a_value_for_another_key_is_a_desync():
    with FakeBackend("text", lambda conn, req: req.hit(
            b"secret", key=b"other")) as fake, \
            Kvproxy([fake]) as kv, kv.client() as c:
        c.send(b"get k\r\n")
        assert b"other" not in expect_failure(c)
        assert fake.conns[0].gone.wait(10)
        assert kv.backend(fake, "desyncs") >= 1
        check_served(kv, fake, c)


@pytest.mark.parametrize("request_, reply, answer", [
    (b"get k\r\n", b"EN\r\n", b"END\r\n"),
    (b"get k\r\n", b"SERVER_ERROR out of memory writing get response\r\n",
     b"SERVER_ERROR out of memory writing get response\r\n"),
    (b"set k 0 0 1\r\nx\r\n", b"SERVER_ERROR out of memory storing object\r\n",
     b"SERVER_ERROR out of memory storing object\r\n"),
    (b"incr k 1\r\n",
     b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n",
     b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"),
    (b"flush_all\r\n", b"CLIENT_ERROR flush_all not allowed\r\n",
     b"CLIENT_ERROR flush_all not allowed\r\n"),
], ids=["EN", "SERVER_ERROR to get", "SERVER_ERROR to set", "not a number",
        "no flush_all"])
def test_replies_without_opaque_are_taken_by_position(request_, reply, answer):
    with FakeBackend(script=lambda conn, req: reply) as fake, \
            Kvproxy([fake]) as kv, kv.client() as c:
        for _ in range(3):
            c.ask(request_, answer)
        check_served(kv, fake, c)
        assert kv.backend(fake, "connects") == 1
        assert kv.backend(fake, "desyncs") == 0


def test_SERVER_ERROR_in_text_is_an_ordinary_reply():
    error = b"SERVER_ERROR out of memory storing object\r\n"
    with FakeBackend("text", lambda conn, req: error) as fake, \
            Kvproxy([fake]) as kv, kv.client() as c:
        c.ask(b"set k 0 0 1\r\nx\r\nget k\r\n", error + error)
        check_served(kv, fake, c)
        assert kv.backend(fake, "connects") == 1
        assert kv.stat("reply_errors") == 2


@pytest.mark.parametrize("junk", [
    b"garbage\r\n", b"ENDD\r\n", b"-1\r\n", b"\r\n", b"\r", b"\0\0\r\n",
    b"VALUE\r\n", b"VALUE k\r\n", b"VALUE k 0 -1\r\n",
    b"VALUE k 0 99999999999999999999\r\n", b"VALUE k 0 1x\r\nx\r\nEND\r\n",
    b"VA\r\n", b"VA -1 f0\r\n", b"VA 99999999999999999999 f0\r\n",
    b"STORED\r\n", b"NOT_FOUND\r\n", b"HD O\r\n", b"NF\r\n",
    b"x" * 100000], ids=lambda j: repr(j[:24]))
def test_E6_junk_is_hidden_from_the_client(fake, junk):
    def script(conn, req):
        if req.key != b"k":
            return None
        conn.send(junk)
        if not junk.endswith(b"\n"):
            conn.close()

    fake.script = script
    with Kvproxy([fake]) as kv, kv.client() as c:
        c.send(b"get k\r\n")
        line = expect_failure(c)
        assert line.isascii() and len(line) < 200
        assert not junk.split() or junk.split()[0] not in line.split()
        assert fake.conns[0].gone.wait(10)
        check_served(kv, fake, c)


@pytest.mark.parametrize("error", [b"ERROR\r\n",
                                   b"CLIENT_ERROR bad data chunk\r\n"])
def test_E7_a_backends_complaint_ends_its_connection(fake, error):
    """Its client gets an error, writes sent behind it fail cleanly, a read
    is tried once more."""
    def script(conn, req):
        if conn.number == 0:
            return error if req.key == b"r" else b""

    fake.script = script
    fake.store[b"r"] = b"value"
    with Kvproxy([fake]) as kv, kv.client() as c:
        c.send(b"set bad 0 0 1\r\nx\r\nset w1 0 0 1\r\nx\r\n"
               b"set w2 0 0 1\r\nx\r\nget r\r\n")
        line = c.recv_line()
        assert line.split()[0].endswith(b"ERROR"), line
        expect_failure(c)
        expect_failure(c)
        c.expect(hit(b"r", b"value"))
        assert fake.conns[0].gone.wait(10)
        check_served(kv, fake, c)
        assert kv.backend(fake, "desyncs") == 1
        assert [fake.seen(k) for k in (b"bad", b"w1", b"w2")] == [1, 1, 1]


def test_E5_bytes_after_a_reply_close_the_connection(fake):
    fake.script = for_key(b"k", lambda conn, req:
                          req.hit(b"good") + b"more\r\n")
    with Kvproxy([fake]) as kv, kv.client() as c:
        c.ask(b"get k\r\n", hit(b"k", b"good"))
        assert fake.conns[0].gone.wait(10)
        check_served(kv, fake, c)
        assert kv.backend(fake, "desyncs") == 1


def test_E8_a_reply_that_nobody_asked_for(fake):
    with Kvproxy([fake]) as kv, kv.client() as c:
        kv.wait_connected(fake)
        fake.conns[0].send(b"END\r\n")
        assert fake.conns[0].gone.wait(10)
        check_served(kv, fake, c)
        assert kv.backend(fake, "desyncs") == 1


def test_a_server_of_another_protocol_is_not_asked(dialect):
    with FakeBackend(dialect) as fake:
        fake.greeting = lambda line: b"SSH-2.0-OpenSSH_9.2\r\n"
        with Kvproxy([fake]) as kv, kv.client() as c:
            c.send(b"get k\r\n")
            expect_failure(c)
            assert fake.requests == []


# Values too large, values in pieces


def test_E2_a_value_over_max_packet_is_swallowed(fake):
    fake.script = for_key(b"k", lambda conn, req: req.hit(b"x" * (2 * MIB)))
    fake.store[b"j"] = b"small"
    with Kvproxy([fake]) as kv, kv.client() as c:
        c.send(b"get k\r\nget j\r\n")
        expect_failure(c)
        c.expect(hit(b"j", b"small"))
        c.send(b"get j k j\r\n")
        expect_failure(c)
        check_served(kv, fake, c)
        assert kv.backend(fake, "connects") == 1


def test_E2_a_value_of_exactly_max_packet_is_served(fake):
    value = bytes(range(256)) * 4096
    fake.store[b"k"] = value
    with Kvproxy([fake]) as kv, kv.client() as c:
        c.ask(b"get k\r\n", hit(b"k", value))


def test_E2_a_length_beyond_all_bounds_closes(fake):
    head = {"meta": b"VA 4294967293 f0 O%s\r\nxxxx",
            "text": b"VALUE k 0 4294967293\r\nxxxx"}[fake.dialect]

    def script(conn, req):
        return head % req.opaque if b"%s" in head else head

    fake.script = for_key(b"k", script)
    with Kvproxy([fake]) as kv, kv.client() as c:
        c.send(b"get k\r\n")
        expect_failure(c)
        assert fake.conns[0].gone.wait(10)
        check_served(kv, fake, c)


def test_E11_a_value_arrives_cut_anywhere(fake):
    """Every cut, and byte by byte; the value looks like a reply."""
    value = b"a\r\nEND\r\nEN\r\nb"
    cuts = []

    def script(conn, req):
        conn.send_cut(req.hit(value), cuts, kv.tick)
        return b""

    fake.script = for_key(b"k", script)
    with Kvproxy([fake]) as kv, kv.client() as c:
        for cut in range(1, 80):
            cuts[:] = [cut]
            c.ask(b"get k\r\n", hit(b"k", value))
        cuts[:] = range(1, 80)
        c.ask(b"get k\r\n", hit(b"k", value))
        c.ask(b"get k k none k\r\n", hit(b"k", value)[:-5] * 3 + b"END\r\n")
        assert kv.backend(fake, "connects") == 1


@pytest.mark.parametrize("write", WRITES, ids=lambda w: w.split()[0].decode())
def test_the_reply_to_a_write_arrives_byte_by_byte(fake, write):
    def script(conn, req):
        reply = fake.default(req)
        conn.send_cut(reply, range(1, len(reply)), kv.tick)
        return b""

    with Kvproxy([fake]) as kv, kv.client() as c:
        c.send(write)
        whole = c.recv_line()
        fake.script = script
        c.ask(write, whole)


def test_the_greeting_arrives_byte_by_byte(dialect):
    with FakeBackend(dialect) as fake, \
            Kvproxy([fake]) as kv, kv.client() as c:
        check_served(kv, fake, c)
        whole = fake.greeting

        def slowly(line):
            conn, reply = fake.conns[-1], whole(line)
            conn.send_cut(reply, range(1, len(reply)), kv.tick)
            return b""

        fake.greeting = slowly
        fake.conns[0].close()
        wait_for(lambda: kv.backend(fake, "idle_closes") == 1)
        check_served(kv, fake, c)


def test_E4_part_of_a_value_and_then_silence(fake):
    """A timeout is one SERVER_ERROR, without the part."""
    fake.script = for_key(b"k", lambda conn, req: req.hit(b"value")[:-3])
    fake.store[b"j"] = b"jj"
    with Kvproxy([fake], core={"recv_timeout": 300}) as kv, \
            kv.client() as c:
        for request in (b"get k\r\n", b"get j k\r\n"):
            c.send(request)
            with Elapsed(0.3):
                expect_failure(c)
        assert kv.stat("fail_timeout") >= 1
        check_served(kv, fake, c)


def test_E1_an_error_before_the_whole_request_was_sent(dialect):
    """It is delivered once; the rest of the request goes nowhere."""
    error = b"SERVER_ERROR out of memory storing object\r\n"
    read_on = threading.Event()

    def early(conn, line):
        conn.send(error)
        read_on.wait(20)

    value = b"version\r\n" * (8 * MIB // 9)
    with FakeBackend(dialect, rcvbuf=4096, on_store_line=early) as fake, \
            Kvproxy([fake], core={"max_packet": 16}) as kv, \
            kv.client() as c:
        c.send(b"set k 0 0 %d\r\n%s\r\n" % (len(value), value))
        c.expect(error)
        fake.on_store_line = None
        check_served(kv, fake, c)
        read_on.set()
        assert fake.conns[0].gone.wait(10)
        assert fake.seen(b"k") == 0
        assert kv.backend(fake, "connects") == 2


def test_E10_replies_are_read_while_a_write_is_stuck(dialect):
    gate = threading.Event()
    value = b"y" * (8 * MIB)

    def script(conn, req):
        if req.key == b"k":
            gate.wait(20)

    with FakeBackend(dialect, script, rcvbuf=4096) as fake, \
            Kvproxy([fake], core={"max_packet": 16}) as kv, \
            kv.client() as c:
        fake.store[b"k"] = b"first"
        c.send(b"get k\r\nset big 0 0 %d\r\n%s\r\nget k\r\n" %
               (len(value), value))
        wait_for(lambda: kv.stat("bytes_read") > len(value))
        kv.tick()
        gate.set()
        c.expect(hit(b"k", b"first") + b"STORED\r\n" + hit(b"k", b"first"))
        assert fake.store[b"big"] == value
        assert kv.backend(fake, "connects") == 1


# Time


def test_E9_a_timeout_is_answered_and_the_late_reply_swallowed(fake):
    gate = threading.Event()

    def late(conn, req):
        gate.wait(20)

    fake.script = for_key(b"slow", late)
    fake.store.update({b"slow": b"too late", b"k": b"v"})
    with Kvproxy([fake], core={"recv_timeout": 400}) as kv, \
            kv.client() as c1, kv.client() as c2:
        c1.send(b"get slow\r\n")
        with Elapsed(0.4, least=0.3):
            expect_failure(c1)
        c2.send(b"get k\r\n")
        kv.tick()
        gate.set()
        c2.expect(hit(b"k", b"v"))
        c1.ask(b"get k\r\n", hit(b"k", b"v"))
        assert kv.stat("late_replies") == 1
        assert kv.stat("fail_timeout") == 1
        host = kv.backend(fake)
        assert (host["connects"], host["timeouts"], host["events"]) == \
            (1, 1, 1)


@pytest.mark.parametrize("write", WRITES, ids=lambda w: w.split()[0].decode())
def test_a_write_that_timed_out_is_not_repeated(fake, write):
    gate = threading.Event()
    fake.script = for_key(b"k", lambda conn, req: gate.wait(20) and None)
    with Kvproxy([fake], core={"recv_timeout": 200}) as kv, \
            kv.client() as c:
        c.send(write)
        with Elapsed(0.2):
            expect_failure(c)
        gate.set()
        check_served(kv, fake, c)
        assert fake.seen(b"k") == 1


def test_a_connection_that_stays_silent_is_closed(fake):
    fake.script = for_key(b"k", lambda conn, req: b"")
    with Kvproxy([fake], core={"recv_timeout": 200}) as kv, \
            kv.client() as c:
        c.send(b"get k\r\n")
        expect_failure(c)
        assert fake.conns[0].gone.wait(10)
        kv.wait_connected(fake)
        check_served(kv, fake, c)
        assert kv.backend(fake, "connects") == 2


def test_one_silent_timeout_is_one_event_however_many_it_fails(fake):
    fake.script = lambda conn, req: b""
    with Kvproxy([fake], core={"recv_timeout": 300}) as kv, \
            kv.client() as c:
        kv.wait_connected(fake)
        n = 16	# all that a new client may have in flight
        c.send(b"get k\r\n" * n)
        for _ in range(n):
            expect_failure(c)
        assert kv.backend(fake, "events") == 1
        assert kv.backend(fake, "failed") == n
        check_served(kv, fake, c)


def test_E12_a_frozen_server_costs_only_its_deadline():
    with Memcached() as m, Kvproxy([m], core={"recv_timeout": 300}) as kv, \
            kv.client() as c:
        c.ask(b"set k 0 0 1\r\nv\r\n", b"STORED\r\n")
        m.freeze()
        for request in (b"get k\r\n", b"set j 0 0 1\r\nj\r\n", b"get k\r\n"):
            c.send(request)
            with Elapsed(0.3):
                expect_failure(c)
        m.thaw()

        def is_served():
            return c.ask_line(b"touch k 0\r\n") == b"TOUCHED\r\n"

        with Elapsed(0.5):
            wait_for(is_served)
        c.ask(b"get k\r\n", hit(b"k", b"v"))


def test_E12_connecting_into_a_black_hole():
    with Blackhole() as hole, \
            Kvproxy([hole], core={"recv_timeout": 300,
                                  "connect_timeout": 500}) as kv, \
            kv.client() as c:
        for _ in range(3):
            c.send(b"get k\r\nset k 0 0 1\r\nx\r\n")
            with Elapsed(0.3):
                expect_failure(c)
                expect_failure(c)
        wait_for(lambda: kv.backend(hole, "connect_errors") >= 1)
        c.send(b"get k\r\n")
        with Elapsed(0):
            expect_failure(c)


def test_E12_a_server_that_accepts_and_closes(dialect):
    with FakeBackend(dialect, on_accept=lambda conn: conn.close()) as fake, \
            Kvproxy([fake]) as kv, kv.client() as c:
        for _ in range(3):
            c.send(b"get k\r\nset k 0 0 1\r\nx\r\n")
            with Elapsed(0):
                expect_failure(c)
                expect_failure(c)
        assert kv.backend(fake, "connected") == 0


def test_E12_a_server_that_accepts_and_says_nothing(fake):
    """It is not used before it has greeted."""
    fake.greeting = lambda line: b""
    with Kvproxy([fake], core={"recv_timeout": 300,
                               "connect_timeout": 400}) as kv, \
            kv.client() as c:
        c.send(b"get k\r\nset k 0 0 1\r\nx\r\n")
        with Elapsed(0.4):
            expect_failure(c)
            expect_failure(c)
        assert fake.requests == []
        assert kv.backend(fake, "connected") == 0
        wait_for(lambda: fake.conns[0].gone.is_set())


def test_E12_reset_in_the_middle_of_a_reply(fake):
    def script(conn, req):
        conn.send(req.hit(b"value")[:-4])
        kv.tick()
        conn.reset()
        return b""

    fake.script = for_key(b"k", script)
    with Kvproxy([fake]) as kv, kv.client() as c:
        c.send(b"get k\r\n")
        expect_failure(c)
        assert fake.seen(b"k") == 2	# once, and once more
        check_served(kv, fake, c)


def test_E12_nobody_listens(dialect):
    with Memcached() as alive:
        dead = free_port()
        with Kvproxy([alive, dead], core={"failover": "none"},
                     service={"backend_proto": dialect}) as kv, \
                kv.client() as c:
            wait_for(lambda: kv.backend(dead, "connect_errors") >= 1)
            failed = 0
            with Elapsed(0):
                for i in range(200):
                    line = c.ask_line(b"set k%d 0 0 1\r\nx\r\n" % i)
                    failed += line.startswith(FAIL)
                    assert line == b"STORED\r\n" or line.startswith(FAIL)
            assert 40 < failed < 160
            assert kv.stat("failed_requests") == failed
            assert kv.stat("fail_down") == failed
            assert kv.backend(dead, "failed") == failed
            assert kv.backend(alive, "failed") == 0


def test_E13_every_server_is_down():
    ports = [free_port() for _ in range(3)]
    with Kvproxy(ports) as kv, kv.client() as c:
        for request in WRITES + [b"get k\r\n", b"gets a b c d e f\r\n",
                                 b"gat 10 k\r\n", b"flush_all\r\n"]:
            c.send(request)
            expect_failure(c)
        c.ask(b"version\r\n", kv.version())


def test_a_slow_backend_costs_only_its_own_keys():
    gate = threading.Event()
    with FakeBackend() as slow, FakeBackend() as fast, \
            Kvproxy([slow, fast]) as kv, \
            kv.client() as c1, kv.client() as c2:
        slow_key, fast_key = slow.key(c1), fast.key(c1)
        slow.script = lambda conn, req: gate.wait(20) and None
        before = slow.seen(slow_key)
        c1.send(b"get %s\r\n" % slow_key)
        wait_for(lambda: slow.seen(slow_key) == before + 1)
        for _ in range(100):
            c2.ask(b"get %s\r\n" % fast_key, b"END\r\n")
        assert c1.is_quiet()
        gate.set()
        c1.expect(b"END\r\n")


# Connections that die


def test_a_read_is_tried_once_more(fake):
    """The connection dies with the read on it; a fresh one answers."""
    def script(conn, req):
        if conn.number == 0:
            conn.close()
            return b""

    fake.script = script
    fake.store[b"k"] = b"value"
    with Kvproxy([fake]) as kv, kv.client() as c:
        c.ask(b"get k\r\n", hit(b"k", b"value"))
        assert kv.stat("retries") == 1
        assert kv.stat("failed_requests") == 0
        assert kv.backend(fake, "closes") == 1
        assert fake.seen(b"k") == 2


def test_a_read_is_not_tried_twice_more(fake):
    def script(conn, req):
        conn.close()
        return b""

    fake.script = for_key(b"k", script)
    with Kvproxy([fake]) as kv, kv.client() as c:
        c.send(b"get k\r\n")
        expect_failure(c)
        check_served(kv, fake, c)
        assert fake.seen(b"k") == 2
        assert kv.stat("retries") == 1


@pytest.mark.parametrize("write", WRITES, ids=lambda w: w.split()[0].decode())
def test_E24_a_write_is_never_sent_twice(fake, write):
    def script(conn, req):
        conn.close()
        return b""

    fake.script = for_key(b"k", script)
    with Kvproxy([fake]) as kv, kv.client() as c:
        c.send(write)
        expect_failure(c)
        check_served(kv, fake, c)
        assert fake.seen(b"k") == 1
        assert kv.stat("retries") == 0
        assert kv.stat("fail_closed") == 1


def test_a_read_is_not_repeated_behind_a_later_write(fake):
    """The write may have been done: the second read could see it."""
    def script(conn, req):
        if req.is_store():
            conn.close()
        return b""

    fake.script = script
    with Kvproxy([fake]) as kv, kv.client() as c:
        c.send(b"get k\r\nset k 0 0 1\r\nx\r\n")
        expect_failure(c)
        expect_failure(c)
        check_served(kv, fake, c)
        assert fake.seen(b"k") == 2


def test_requests_not_yet_sent_move_to_the_new_connection(dialect):
    """A connection dies under a queue that did not fit in its socket: what
    was sent fails, what was not is sent on the next, nothing twice."""
    n, size = 16, MIB
    gate = threading.Event()

    def stuck(conn, line):
        if conn.number == 0:
            gate.wait(20)
            conn.reset()
            raise EOFError

    with FakeBackend(dialect, rcvbuf=4096, on_store_line=stuck) as fake, \
            Kvproxy([fake], core={"recv_timeout": 20000,
                                  "client_buffer": 16}) as kv, \
            kv.client() as c:
        kv.wait_connected(fake)
        for i in range(n):
            c.send(b"set k%d 0 0 %d\r\n%s\r\n" % (i, size, b"x" * size))
        wait_for(lambda: kv.stat("bytes_read") > n * size)
        kv.tick()
        gate.set()
        lines = [c.recv_line() for _ in range(n)]
        stored = [line == b"STORED\r\n" for line in lines]
        assert all(s or line.startswith(FAIL)
                   for s, line in zip(stored, lines))
        assert not stored[0] and stored[-1]
        assert stored == sorted(stored)	# first the failed, then the moved
        assert [fake.seen(b"k%d" % i) for i in range(n)] == \
            [int(s) for s in stored]
        assert kv.stat("moved") == sum(stored)


def test_E25_an_idle_close_is_no_failure(fake):
    fake.store[b"k"] = b"v"
    with Kvproxy([fake]) as kv, kv.client() as c:
        for i in range(2):
            c.ask(b"get k\r\n", hit(b"k", b"v"))
            fake.conns[-1].close()
            wait_for(lambda: kv.backend(fake, "idle_closes") == i + 1)
            c.ask(b"set j 0 0 1\r\nj\r\n", b"STORED\r\n")
        host = kv.backend(fake)
        assert (host["failed"], host["events"], host["closes"]) == (0, 0, 0)
        assert kv.stat("failed_requests") == 0


def test_a_server_that_is_killed_is_served_again_when_it_returns(dialect):
    with Memcached() as m, Memcached() as other, \
            Kvproxy([m, other], core={"failover": "none"},
                    service={"backend_proto": dialect}) as kv, \
            kv.client() as c:
        kv.wait_connected(m, other)
        for _ in range(3):
            m.kill()
            wait_for(lambda: kv.backend(m, "connected") == 0)
            lines = []
            with Elapsed(0):
                for i in range(50):
                    lines.append(c.ask_line(b"set k%d 0 0 1\r\nx\r\n" % i))
            assert {line[:6] for line in lines} == {b"STORED", FAIL[:6]}
            m.start()
            with Elapsed(0.2):
                kv.wait_connected(m)
            for i in range(50):
                c.ask(b"set k%d 0 0 1\r\nx\r\n" % i, b"STORED\r\n")
        assert kv.backend(m, "continuous") == 0
        assert kv.backend(m, "failed") > 0
        assert kv.backend(other, "failed") == 0


def test_a_server_found_down_at_start_is_used_when_it_comes(dialect):
    with Memcached() as m:
        m.kill()
        with Kvproxy([m], service={"backend_proto": dialect}) as kv, \
                kv.client() as c:
            c.send(b"get k\r\n")
            expect_failure(c)
            m.start()
            with Elapsed(0.2):
                kv.wait_connected(m)
            c.ask(b"get k\r\n", b"END\r\n")


# Many keys


def many(kv, n=100):
    return b"get " + b" ".join(b"key%d" % i for i in range(n)) + b"\r\n"


@pytest.fixture(params=["error", "miss"])
def third_dead(request, dialect):
    """Two of three hosts, and what a failed read is to be."""
    with Memcached() as m1, Memcached() as m2:
        dead = free_port()
        with Kvproxy([m1, m2, dead],
                     core={"read_failure": request.param,
                           "failover": "none"},
                     service={"backend_proto": dialect}) as kv, \
                kv.client() as c:
            wait_for(lambda: kv.backend(dead, "connect_errors") >= 1)
            yield request.param, kv, c


def test_E20_a_get_of_many_with_one_host_of_three_dead(third_dead):
    mode, kv, c = third_dead
    live = []
    for i in range(100):
        line = c.ask_line(b"set key%d 0 0 1\r\nx\r\n" % i)
        if line == b"STORED\r\n":
            live.append(b"key%d" % i)
        else:
            assert line.startswith(FAIL)	# a write is never a miss
    assert 30 < len(live) < 95
    dead = next(b"key%d" % i for i in range(100)
                if b"key%d" % i not in live)
    before = kv.stats()
    c.send(many(kv))
    values, last = c.recv_values()
    if mode == "error":
        assert values == [] and last.startswith(FAIL)
        c.send(b"get %s\r\n" % dead)
        expect_failure(c)
        assert kv.stat("failed_requests") == before["failed_requests"] + 2
    else:
        assert [v[0] for v in values] == live and last == b"END\r\n"
        c.ask(b"get %s\r\n" % dead, b"END\r\n")
        c.ask(b"gets %s\r\n" % dead, b"END\r\n")
        assert kv.stat("failed_as_miss") == \
            before["failed_as_miss"] + 100 - len(live) + 2
    c.ask(b"get %s\r\n" % live[0], hit(live[0], b"x"))


def test_E27_a_get_of_many_that_all_miss(dialect):
    with Memcached() as m1, Memcached() as m2, \
            Kvproxy([m1, m2], service={"backend_proto": dialect}) as kv, \
            kv.client() as c:
        c.ask(many(kv) + b"version\r\n", b"END\r\n" + kv.version())
        stats = kv.stats()
        assert (stats["keys_read"], stats["get_misses"]) == (100, 100)
        assert stats["requests"] == 1


def test_a_get_of_many_answers_in_the_order_of_its_keys():
    """Though the hosts answer in the other order."""
    gate = threading.Event()
    with FakeBackend(script=lambda conn, req: gate.wait(20) and None) \
            as slow, FakeBackend("text") as fast, \
            Kvproxy([slow, fast]) as kv, kv.client() as c:
        for f in (slow, fast):
            f.store.update({b"key%d" % i: b"v%d" % i for i in range(100)})
        kv.wait_connected(slow, fast)
        c.send(many(kv))
        wait_for(lambda: fast.requests and slow.requests)
        kv.tick()
        assert c.is_quiet()
        gate.set()
        c.expect(b"".join(hit(b"key%d" % i, b"v%d" % i)[:-5]
                          for i in range(100)) + b"END\r\n")
        assert len(fast.requests) + len(slow.requests) == 100


# Bounds


def test_E17_a_queue_past_its_limit_is_an_immediate_error(fake):
    """The error waits its turn behind earlier replies of its client, but
    the leg has failed at once."""
    gate = threading.Event()
    fake.script = lambda conn, req: gate.wait(20) and None
    fake.store[b"k"] = b"v"
    with Kvproxy([fake], core={"server_queue": 4}) as kv, \
            kv.client() as c1, kv.client() as c2:
        kv.wait_connected(fake)
        c1.send(b"get k\r\n" * 20)
        full = wait_for(lambda: kv.stat("fail_queue_full"))
        c2.send(b"get k\r\n")
        with Elapsed(0):
            expect_failure(c2)
        gate.set()
        answers = []
        for _ in range(20):
            line = c1.recv_line()
            if not line.startswith(FAIL):
                assert line + c1.recv_until(b"END\r\n") == hit(b"k", b"v")
            answers.append(line.startswith(FAIL))
        assert sum(answers) == kv.stat("fail_queue_full") - 1
        assert full >= 1 and not all(answers)
        check_served(kv, fake, c1)


def test_E28_large_writes_to_a_slow_server(dialect):
    """It reads nothing for a while: each write fails at its deadline, the
    worker does not spin, and the host is used again."""
    gate = threading.Event()

    def stuck(conn, line):
        gate.wait(20)

    with Memcached() as m, \
            FakeBackend(dialect, rcvbuf=4096, on_store_line=stuck) as fake, \
            Kvproxy([fake, m], core={"recv_timeout": 500,
                                     "failover": "none"}) as kv, \
            kv.client() as c:
        kv.wait_connected(fake, m)
        n, value = 40, b"z" * 900000
        pid = kv.worker_pids()[0]
        lines = []

        def talk():
            for _ in range(n):
                lines.append(c.recv_line())

        reader = threading.Thread(target=talk)
        reader.start()
        for i in range(n):
            c.send(b"set k%d 0 0 %d\r\n%s\r\n" % (i, len(value), value))
        reader.join(30)
        assert len(lines) == n
        assert {line[:6] for line in lines} == {b"STORED", FAIL[:6]}
        stuck_key = next(i for i in range(n) if lines[i].startswith(FAIL))
        begin, cpu = time.monotonic(), cpu_seconds(pid)
        for _ in range(2):	# each waits for its deadline: is it at rest?
            c.send(b"set k%d 0 0 1\r\nx\r\n" % stuck_key)
            expect_failure(c)
        wall = time.monotonic() - begin
        assert cpu_seconds(pid) - cpu < 0.1 + wall / 2
        fake.on_store_line = None
        gate.set()
        wait_for(lambda: not any(
            c.ask_line(b"set k%d 0 0 1\r\nx\r\n" % i).startswith(FAIL)
            for i in range(n)), what="the host to be used again")


def test_large_values_have_a_connection_of_their_own(dialect):
    """Who reads or stores large values is asked for on the last connection,
    when nothing of it is under way on another."""
    with FakeBackend(dialect) as fake, \
            Kvproxy([fake], core={"server_connections": 2},
                    service={"backend_proto": dialect}) as kv, \
            kv.client() as small, kv.client() as large:
        def connection_of(client, request, reply):
            client.ask(request, reply)
            return fake.requests[-1].conn.number
        value = b"v" * 900000
        home = connection_of(small, b"set s 0 0 1\r\nx\r\n", b"STORED\r\n")
        # Its first large value tells; the next one goes the other way.
        connection_of(large, b"set l 0 0 %d\r\n%s\r\n" % (len(value), value),
                      b"STORED\r\n")
        lane = connection_of(large, b"get l\r\n", hit(b"l", value))
        assert lane != home
        for _ in range(3):
            assert connection_of(small, b"get s\r\n", hit(b"s", b"x")) == home
            assert connection_of(large, b"get l\r\n", hit(b"l", value)) == lane


@pytest.mark.parametrize("connections", [1, 2, 4])
def test_E19_a_clients_requests_to_one_host_keep_their_order(dialect,
                                                             connections):
    with Memcached() as m, \
            Kvproxy([m], core={"server_connections": connections},
                    service={"backend_proto": dialect}) as kv:
        clients = [kv.client() for _ in range(8)]
        for turn in range(25):
            for n, c in enumerate(clients):
                key, value = b"key%d" % n, b"%d" % turn
                c.send(b"set %s 0 0 %d\r\n%s\r\nget %s\r\ndelete %s\r\n"
                       b"get %s\r\n" % (key, len(value), value, key, key,
                                        key))
            for n, c in enumerate(clients):
                c.expect(b"STORED\r\n" + hit(b"key%d" % n, b"%d" % turn) +
                         b"DELETED\r\nEND\r\n")
        wait_for(lambda: kv.backend(m, "connects") == connections)
        for c in clients:
            c.close()


def test_E18_a_burst_and_then_silence(dialect):
    """5,000 requests in one go; no byte after them is needed."""
    n = 5000
    with Memcached() as m, \
            Kvproxy([m], service={"backend_proto": dialect}) as kv, \
            kv.client() as c:
        c.send(b"".join(b"set k%d 0 0 4\r\n%04d\r\n" % (i, i)
                        for i in range(n)))
        c.expect(b"STORED\r\n" * n)
        c.send(b"".join(b"get k%d\r\n" % i for i in range(n)))
        c.expect(b"".join(hit(b"k%d" % i, b"%04d" % i) for i in range(n)))


# Dialects


@pytest.mark.parametrize("version, mn, found", [
    (b"VERSION 1.6.18\r\n", b"MN\r\n", "meta"),
    (b"VERSION 1.6.21\r\n", b"MN\r\n", "meta"),
    (b"VERSION 1.10.0\r\n", b"MN\r\n", "meta"),
    (b"VERSION 2.0.0\r\n", b"MN\r\n", "meta"),
    (b"VERSION 1.6.17\r\n", b"MN\r\n", "text"),
    (b"VERSION 1.5.22\r\n", b"ERROR\r\n", "text"),
    (b"VERSION 1.6.18\r\n", b"ERROR\r\n", "text"),
    (b"VERSION 3.4.20\r\n", b"ERROR\r\n", "text"),
    (b"VERSION something\r\n", b"ERROR\r\n", "text"),
], ids=lambda v: repr(v))
def test_the_dialect_is_found_by_the_greeting(version, mn, found):
    with FakeBackend(found) as fake:
        fake.greeting = lambda line: mn if line == b"mn" else version
        with Kvproxy([fake]) as kv, kv.client() as c:
            c.ask(b"set k 0 0 1\r\nv\r\nget k\r\n",
                  b"STORED\r\n" + hit(b"k", b"v"))
            assert [r.meta for r in fake.requests] == [found == "meta"] * 2


def test_meta_requests_carry_an_opaque_of_their_own():
    with FakeBackend() as fake, Kvproxy([fake]) as kv, kv.client() as c:
        for i in range(3):
            c.ask(b"get a b c\r\nget d\r\n", b"END\r\n" * 2)
        opaques = [r.opaque for r in fake.requests]
        assert None not in opaques and len(set(opaques)) == len(opaques)


def test_M16_classic_reads_leave_the_recache_token():
    """After a stale mark, a classic client's read does not win the right to
    recache: who asks for it next does."""
    with Memcached() as m, Kvproxy([m]) as kv, kv.client() as c, \
            m.client() as direct:
        for request in (b"get s\r\n", b"gets s\r\n", b"touch s 30\r\n",
                        b"gat 30 s\r\n", b"gats 30 s\r\n"):
            direct.ask(b"set s 0 0 1\r\nv\r\n", b"STORED\r\n")
            direct.ask(b"md s I T30\r\n", b"HD\r\n")
            c.send(request + b"get none\r\n")
            first = c.recv_line()
            if first == b"TOUCHED\r\n":
                c.expect(b"END\r\n")
            else:
                assert first.startswith(b"VALUE s 0 1")
                c.expect(b"v\r\nEND\r\nEND\r\n")
            # Behind what asked whether it is stale still, and behind what
            # gave it back then.
            for _ in range(2):
                c.ask(b"get none\r\n", b"END\r\n")
            direct.send(b"mg s v\r\n")
            line = direct.recv_line()
            direct.recv_exactly(3)
            assert b"W" in line.split(), (request, line)


def test_a_stale_items_cas_still_works():
    with Memcached() as m, Kvproxy([m]) as kv, kv.client() as c, \
            m.client() as direct:
        direct.ask(b"set s 0 0 1\r\nv\r\n", b"STORED\r\n")
        direct.ask(b"md s I T30\r\n", b"HD\r\n")
        c.send(b"gets s\r\n")
        unique = c.recv_until(b"END\r\n").split()[4]
        c.ask(b"cas s 0 0 1 %s\r\nw\r\n" % unique, b"STORED\r\n")
        c.ask(b"get s\r\n", hit(b"s", b"w"))


def test_a_client_that_leaves_does_not_disturb_the_others(fake):
    gate = threading.Event()
    fake.script = lambda conn, req: gate.wait(20) and None
    fake.store.update({b"a": b"for a", b"b": b"for b"})
    with Kvproxy([fake]) as kv, kv.client() as c2:
        kv.wait_connected(fake)
        c1 = kv.client()
        c1.send(b"get a\r\n")
        wait_for(lambda: fake.requests)
        c2.send(b"get b\r\n")
        kv.tick()
        c1.reset()
        wait_for(lambda: kv.stat("curr_connections") == 2)
        gate.set()
        c2.expect(hit(b"b", b"for b"))
        assert kv.backend(fake, "connects") == 1
