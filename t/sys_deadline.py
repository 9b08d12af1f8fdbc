"""Deadlines, silences, and when a host is given up for them."""

import threading
import time

import pytest

from harness import (SLACK, FakeBackend, Kvproxy, freeze, thaw, wait_for)
from harness.text import FAIL, expect_failure, hit

MIB = 1024 * 1024


@pytest.fixture(params=["meta", "text"])
def dialect(request):
    return request.param


@pytest.fixture
def fake():
    with FakeBackend() as f:
        yield f


def store(key, value):
    return b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value)


def silent(key):
    """A script that leaves requests for KEY without a reply."""
    return lambda conn, req: b"" if req.key == key else None


def test_a_receive_that_filled_its_room_stops_no_deadline(fake):
    """A value that is received in one piece and no byte more: that does not
    mean for ever that more is here to be read."""
    value = b"x" * (3 * MIB)
    fake.store[b"big"] = value
    fake.script = silent(b"slow")
    with Kvproxy([fake], core={"max_packet": 8, "recv_timeout": 300}) as kv, \
            kv.client(timeout=0.3 + SLACK) as c:
        c.ask(b"get big\r\n", hit(b"big", value))
        c.send(b"get slow\r\n")
        expect_failure(c)
        assert kv.stat("fail_timeout") == 1


def test_no_later_write_overtakes_one_that_timed_out(dialect):
    """The connection for large values stands still while the others work:
    what its client writes next waits behind, or fails."""
    gate, held = threading.Event(), []

    def stuck(conn, line):
        if b" 900000" in line:
            held.append(conn)
            gate.wait(20)

    old = b"o" * 900000
    with FakeBackend(dialect, on_store_line=stuck) as fake, \
            Kvproxy([fake], core={"recv_timeout": 400,
                                  "server_connections": 2}) as kv, \
            kv.client() as c:
        wait_for(lambda: kv.backend(fake, "connected") == 2)
        # Small ones behind it: on the whole the client's values are small.
        c.send(store(b"k", old) + b"".join(store(b"a%d" % i, b"x")
                                           for i in range(6)))
        for _ in range(7):
            expect_failure(c)
        line = c.ask_line(store(b"k", b"new"))
        gate.set()
        # Then what was sent on it has been done, or never will be.
        wait_for(lambda: fake.seen(b"a0") or held[0].gone.is_set())
        if line == b"STORED\r\n":
            assert fake.store[b"k"] == b"new"
        else:
            assert line.startswith(FAIL)


def test_the_pause_starts_anew_when_good_replies_came_between(fake):
    """Each silence costs the connection and 50 ms; were the pause to double
    each time, the last one would take 1.6 s."""
    down = 0
    with Kvproxy([fake], core={"recv_timeout": 50,
                               "failover_interval": 30}) as kv, \
            kv.client() as c:
        for i in range(6):
            kv.wait_connected(fake)
            fake.script = None
            c.ask(b"get good\r\n", b"END\r\n")
            fake.script = silent(b"k")
            n = len(fake.conns)
            c.send(b"get k\r\n")
            expect_failure(c)
            fake.conns[-1].gone.wait(10)
            begin = time.monotonic()
            wait_for(lambda: len(fake.conns) == n + 1)
            down += time.monotonic() - begin
        assert down < 6 * 0.05 + SLACK
        assert kv.backend(fake, "silences") == 6


def test_a_silence_of_210_ms_does_not_cost_the_connection(fake):
    """As long as a lost packet takes to be sent again; the request is over
    its deadline, of 100 ms, and fails alone."""
    took = []

    def late(conn, req):
        if req.key == b"k":
            begin = time.monotonic()
            time.sleep(0.21)
            took.append(time.monotonic() - begin)

    fake.script = late
    with Kvproxy([fake], core={"recv_timeout": 100}) as kv, \
            kv.client() as c:
        kv.wait_connected(fake)
        for i in range(3):
            c.send(b"get k\r\n")
            expect_failure(c)
            wait_for(lambda: len(took) == i + 1)
            c.ask(b"get other\r\n", b"END\r\n")
            host = kv.backend(fake)
            if max(took) < 0.4:		# as long as it was to be
                assert (host["connects"], host["silences"]) == (1, 0)
                assert host["timeouts"] == kv.stat("late_replies") == i + 1


def test_E14_a_server_that_recycles_connections_serves_all_the_same(fake):
    """They die young, but it answers well on each of them."""
    with Kvproxy([fake]) as kv, kv.client() as c:
        fake.store[b"k"] = b"v"
        for i in range(8):
            c.ask(b"get k\r\n", hit(b"k", b"v"))
            fake.conns[-1].close()
            wait_for(lambda: kv.backend(fake, "idle_closes") == i + 1)
        c.ask(b"get k\r\n", hit(b"k", b"v"))
        host = kv.backend(fake)
        assert (host["failed"], host["events"], host["connects"]) == (0, 0, 9)


def test_E14_3_of_20_connections_drop_again_and_again(fake):
    fake.store[b"k"] = b"v"
    with Kvproxy([fake], core={"server_connections": 20}) as kv:
        wait_for(lambda: kv.backend(fake, "connected") == 20)
        clients = [kv.client() for _ in range(40)]
        for i in range(5):
            lanes = {}
            for c in clients:
                c.ask(b"get k\r\n", hit(b"k", b"v"))
                lanes[fake.requests[-1].conn] = c
            for conn in list(lanes)[:3]:
                conn.close()
            wait_for(lambda: kv.backend(fake, "idle_closes") == 3 * i + 3)
        for c in clients:
            c.ask(b"get k\r\n", hit(b"k", b"v"))
            c.close()
        assert kv.stat("failed_requests") == 0
        assert kv.backend(fake, "failed") == 0


def test_an_early_error_to_a_large_store_is_no_fault_of_the_hosts(dialect):
    """As servers before 1.6 give it, at the line: they mean to swallow the
    value, and the connection is closed only since that is not known."""
    error = b"SERVER_ERROR object too large for cache\r\n"
    n, value = 6, b"z" * (8 * MIB)
    read_on = threading.Event()

    def early(conn, line):
        if b" %d" % len(value) in line:
            conn.send(error)
            read_on.wait(20)

    with FakeBackend(dialect, rcvbuf=4096, on_store_line=early) as fake, \
            Kvproxy([fake], core={"max_packet": 16}) as kv, \
            kv.client() as c:
        for i in range(n):
            c.ask(store(b"big", value), error)
            if i % 2:
                c.ask(store(b"k", b"x"), b"STORED\r\n")
        read_on.set()
        host = kv.backend(fake)
        assert (host["desyncs"], host["events"], host["closes"]) == (0, 0, 0)
        assert kv.stat("failed_requests") == 0
        assert kv.stat("reply_errors") == n
        assert host["early_closes"] == n


def test_what_came_in_a_stall_came_in_time(fake):
    """The worker stands still past its deadline; the replies are here when
    it goes on."""
    n, gate, sent = 16, threading.Event(), []

    def script(conn, req):
        gate.wait(20)
        conn.send(req.hit(b"v" * 1000))
        sent.append(req)
        return b""

    with Kvproxy([fake], core={"recv_timeout": 500}) as kv, \
            kv.client() as c:
        kv.wait_connected(fake)
        fake.script = script
        c.send(b"get k\r\n" * n)
        wait_for(lambda: kv.backend(fake, "requests") == n)
        begin, pid = time.monotonic(), kv.worker_pids()[0]
        freeze(pid)
        try:
            wait_for(lambda: time.monotonic() - begin > 0.6)
            gate.set()
            wait_for(lambda: len(sent) == n)
        finally:
            thaw(pid)
        c.expect(hit(b"k", b"v" * 1000) * n)
        host = kv.backend(fake)
        assert (host["timeouts"], host["events"]) == (0, 0)


def test_a_connection_closed_for_its_silence_is_counted(fake):
    fake.script = silent(b"k")
    with Kvproxy([fake], core={"recv_timeout": 200}) as kv, \
            kv.client() as c:
        c.send(b"get k\r\nset k 0 0 1\r\nx\r\n")
        expect_failure(c)
        expect_failure(c)
        assert fake.conns[0].gone.wait(10)
        host = kv.backend(fake)
        assert (host["closes"], host["events"], host["timeouts"],
                host["silences"]) == (0, 1, 2, 1)


def test_one_try_to_connect_is_one_event_however_long(fake):
    """A request fails while it lasts, and then the try itself."""
    with Kvproxy([fake], core={"recv_timeout": 100,
                               "connect_timeout": 600}) as kv, \
            kv.client() as c:
        kv.wait_connected(fake)
        fake.deafen()
        fake.conns[0].close()
        wait_for(lambda: kv.backend(fake, "idle_closes") == 1)
        c.send(b"get k\r\n")
        expect_failure(c)
        assert kv.backend(fake, "events") == 1
        wait_for(lambda: kv.backend(fake, "connect_errors") == 1)
        assert kv.backend(fake, "events") == 1
