"""What clients may do to a proxy: never read, vanish, burst, stay idle."""

import os
import threading
import time

import pytest

from harness import (SLACK, FakeBackend, Kvproxy, Memcached, binary, rss_bytes,
                     wait_for)
from harness.text import FAIL

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def memcached():
    # -I: a value of 1 MiB, which kvproxy takes, is to fit.
    with Memcached("-I", "4m") as m:
        yield m


@pytest.fixture(scope="module", params=["meta", "text"])
def proxy(request, memcached):
    with Kvproxy([memcached], service={"backend_proto": request.param}) as kv:
        yield kv


def item(key, value):
    return b"VALUE %s 0 %d\r\n%s\r\n" % (key, len(value), value)


def store(client, key, value):
    client.ask(b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value),
               b"STORED\r\n")


def in_thread(work, *args):
    thread = threading.Thread(target=work, args=args, daemon=True)
    thread.start()
    return thread


def test_C2_a_client_that_never_reads(proxy):
    """It is not read on while its replies wait; the worker's memory stays
    bounded, others are served, and in the end it gets every byte."""
    n, value = 1500, os.urandom(100 * 1024)
    pid = proxy.worker_pids()[0]
    with proxy.client() as c, proxy.client(rcvbuf=4096) as deaf:
        store(c, b"k", value)
        pauses, before = proxy.stat("client_pauses"), rss_bytes(pid)
        request = b"get k\r\n" * n
        sent = deaf.send_some(request)
        rest = in_thread(deaf.send, request[sent:])
        wait_for(lambda: proxy.stat("client_pauses") > pauses)
        for _ in range(100):
            begin = time.monotonic()
            c.ask(b"get k\r\n", item(b"k", value) + b"END\r\n")
            assert time.monotonic() - begin < SLACK
        assert rss_bytes(pid) - before < 48 * MIB
        want = item(b"k", value) + b"END\r\n"
        for _ in range(n):
            deaf.expect(want)
        rest.join(20)
        assert rss_bytes(pid) - before < 48 * MIB


def test_C3_a_value_half_read_while_another_overwrites_it(proxy):
    old, new = b"o" * MIB, b"n" * MIB
    with proxy.client(rcvbuf=4096) as c1, proxy.client() as c2:
        store(c2, b"k", old)
        c1.send(b"get k\r\n")
        c1.expect(item(b"k", old)[:100000])
        store(c2, b"k", new)
        c1.expect(item(b"k", old)[100000:] + b"END\r\n")
        c1.ask(b"get k\r\n", item(b"k", new) + b"END\r\n")


@pytest.mark.parametrize("n", [1, 100, 5000])
def test_C4_half_close_behind_a_pipeline(proxy, n):
    """All replies come, then the end."""
    with proxy.client() as c:
        c.send(b"".join(b"set k%d 0 0 4\r\n%04d\r\nget k%d\r\n" % (i, i, i)
                        for i in range(n)))
        c.shut_write()
        assert c.eof() == b"".join(b"STORED\r\n%sEND\r\n" %
                                   item(b"k%d" % i, b"%04d" % i)
                                   for i in range(n))


def test_C4_half_close_in_the_middle_of_a_request(proxy):
    with proxy.client() as c:
        c.send(b"get none\r\nset k 0 0 100\r\nabc")
        c.shut_write()
        assert c.eof() == b"END\r\n"


def test_C5_reset_with_replies_in_flight(proxy, memcached):
    """The replies are thrown away and the backend's others stay aligned."""
    connects = proxy.backend(memcached, "connects")
    value = b"x" * 50000
    with proxy.client() as c:
        store(c, b"k", value)
        store(c, b"mine", b"mine")
        for _ in range(30):
            gone = proxy.client()
            gone.send(b"get k\r\n" * 200)
            c.ask(b"get mine\r\n", item(b"mine", b"mine") + b"END\r\n")
            gone.reset()
            c.ask(b"get mine k\r\n", item(b"mine", b"mine") +
                  item(b"k", value) + b"END\r\n")
    wait_for(lambda: proxy.stat("curr_connections") == 1)
    assert proxy.backend(memcached, "connects") == connects


def test_C8_C15_a_burst_of_100000_commands_and_then_silence(proxy):
    """All are answered without another byte; meanwhile another client does
    not wait behind them."""
    n, waits, done = 100000, [], threading.Event()

    def others():
        with proxy.client() as c:
            while not done.is_set():
                begin = time.monotonic()
                c.ask(b"get none\r\n", b"END\r\n")
                waits.append(time.monotonic() - begin)

    with proxy.client() as c:
        store(c, b"k", b"value")
        other = in_thread(others)
        sender = in_thread(c.send, b"get k\r\n" * n)
        c.expect((item(b"k", b"value") + b"END\r\n") * n)
        done.set()
        sender.join(20)
        other.join(20)
        assert c.is_quiet()
    assert len(waits) > 10 and max(waits) < SLACK


def test_C9_a_get_of_500_keys_in_small_windows(memcached):
    value = b"v" * 20000
    with Kvproxy([memcached], core={"client_window": 4,
                                    "client_buffer": 1}) as kv, \
            kv.client(rcvbuf=4096) as c:
        keys = [b"key%d" % i for i in range(500)]
        for key in keys:
            store(c, key, value)
        c.send(b"get " + b" ".join(keys) + b"\r\nget none\r\n")
        c.expect(b"".join(item(k, value) for k in keys) + b"END\r\nEND\r\n")


@pytest.mark.parametrize("dialect", ["meta", "text"])
def test_C9_a_failure_past_the_mark_takes_the_place_of_END(dialect):
    """What had to go out before is whole, and the error is the last line."""
    value = b"v" * 20000

    def script(conn, req):
        if req.key == b"key400":
            conn.close()
            return b""
        return req.hit(value)

    with FakeBackend(dialect, script) as fake, \
            Kvproxy([fake], core={"client_window": 16,
                                  "client_buffer": 1}) as kv, \
            kv.client(rcvbuf=4096) as c:
        c.send(b"get " + b" ".join(b"key%d" % i for i in range(500)) +
               b"\r\n")
        values, last = c.recv_values()
        assert last.startswith(FAIL)
        assert 1 <= len(values) <= 400
        assert values == [(b"key%d" % i, 0, value)
                          for i in range(len(values))]
        # The host has closed twice, so it may not be connected yet.
        kv.wait_connected(fake)
        c.ask(b"get after\r\n", item(b"after", value) + b"END\r\n")
        assert kv.stat("failed_requests") == 1


def n_fds(pid):
    return len(os.listdir("/proc/%d/fd" % pid))


def test_C10_a_storm_of_connections_that_say_nothing(proxy):
    pid = proxy.worker_pids()[0]
    proxy.tick()
    before, total = n_fds(pid), proxy.stat("total_connections")
    for i in range(1000):
        c = proxy.client()
        if i % 2:
            c.reset()
        else:
            c.close()
    wait_for(lambda: proxy.stat("total_connections") == total + 1000)
    wait_for(lambda: proxy.stat("curr_connections") == 1)
    wait_for(lambda: n_fds(pid) == before)


def test_C12_a_client_with_the_least_receive_buffer(proxy):
    value = os.urandom(MIB)
    with proxy.client(rcvbuf=1) as c:
        store(c, b"k", value)
        c.ask(b"get k\r\n", item(b"k", value) + b"END\r\n")


@pytest.mark.parametrize("bad, error", [
    (b"set k 0 0 -1\r\n", b"CLIENT_ERROR bad command line format\r\n"),
    (b"set k 0 0 2\r\nhello\r\n", b"CLIENT_ERROR bad data chunk\r\n")])
def test_an_error_before_a_close_reaches_the_client(proxy, bad, error):
    """30 of 30, though the client has sent much that will not be read."""
    for _ in range(30):
        with proxy.client() as c:
            c.send_to_closing(b"get none\r\n" + bad + b"junk\r\n" * 50000)
            assert c.eof() == b"END\r\n" + error


def test_an_error_before_a_close_waits_for_earlier_replies():
    gate = threading.Event()
    with FakeBackend(script=lambda conn, req: gate.wait(20) and None) \
            as fake, Kvproxy([fake]) as kv, kv.client() as c:
        fake.store[b"k"] = b"v"
        c.send(b"get k\r\nget k\r\nset k 0 0 -1\r\nget k\r\n")
        wait_for(lambda: fake.requests)
        kv.tick()
        assert c.is_quiet()
        gate.set()
        assert c.eof() == (item(b"k", b"v") + b"END\r\n") * 2 + \
            b"CLIENT_ERROR bad command line format\r\n"


def test_500_idle_connections_stay_and_work(proxy):
    pid = proxy.worker_pids()[0]
    proxy.tick()
    before = n_fds(pid)
    clients = [proxy.client() for _ in range(500)]
    for i, c in enumerate(clients):
        store(c, b"k%d" % i, b"%d" % i)
    assert proxy.stat("curr_connections") == 501
    for i, c in enumerate(clients):
        c.ask(b"get k%d\r\n" % i, item(b"k%d" % i, b"%d" % i) + b"END\r\n")
    for c in clients:
        c.close()
    wait_for(lambda: proxy.stat("curr_connections") == 1)
    wait_for(lambda: n_fds(pid) == before)


def test_replies_keep_their_order_over_backends_of_different_speed():
    gate = threading.Event()
    with FakeBackend() as slow, FakeBackend("text") as fast, \
            Kvproxy([slow, fast]) as kv, kv.client() as c:
        slow_key, fast_key = slow.key(c), fast.key(c)
        slow.store[slow_key], fast.store[fast_key] = b"slow", b"fast"
        slow.script = lambda conn, req: gate.wait(20) and None
        begin = len(fast.requests)
        pair = b"get %s\r\nget %s\r\nincr %s x\r\nget %s %s\r\n" % (
            slow_key, fast_key, fast_key, fast_key, slow_key)
        c.send(pair * 40)
        wait_for(lambda: len(fast.requests) == begin + 80)
        kv.tick()
        assert c.is_quiet()
        gate.set()
        one, two = item(slow_key, b"slow"), item(fast_key, b"fast")
        c.expect((one + b"END\r\n" + two + b"END\r\n"
                  b"CLIENT_ERROR invalid numeric delta argument\r\n" +
                  two + one + b"END\r\n") * 40)


def test_T18_noreply_on_all_mutators(proxy):
    """Then a get: its reply alone comes, and all of them were done."""
    with proxy.client() as c:
        c.ask(b"set k 0 0 1 noreply\r\n1\r\n"
              b"add k 0 0 1 noreply\r\n9\r\n"
              b"replace k 7 0 1 noreply\r\n2\r\n"
              b"append k 0 0 1 noreply\r\n3\r\n"
              b"prepend k 0 0 1 noreply\r\n4\r\n"
              b"cas k 0 0 1 1 noreply\r\n9\r\n"
              b"incr k 10 noreply\r\n"
              b"decr k 3 noreply\r\n"
              b"touch k 1000 noreply\r\n"
              b"set j 0 0 1 noreply\r\n1\r\n"
              b"delete j noreply\r\n"
              b"get k j\r\n",
              b"VALUE k 7 3\r\n430\r\nEND\r\n")
        c.ask(b"flush_all noreply\r\nget k\r\n", b"END\r\n")
        assert c.is_quiet()


def test_noreply_is_silent_also_when_the_host_is_gone():
    with Memcached() as m, Kvproxy([m]) as kv, kv.client() as c:
        m.kill()
        wait_for(lambda: kv.backend(m, "connected") == 0)
        failed = kv.stat("failed_requests")
        c.ask(b"set k 0 0 1 noreply\r\n1\r\nincr k 1 noreply\r\n"
              b"delete k noreply\r\nflush_all noreply\r\nversion\r\n",
              kv.version())
        assert kv.stat("failed_requests") == failed + 4


def test_quit_behind_requests_in_flight_answers_them(proxy):
    with proxy.client() as c:
        store(c, b"k", b"v")
        c.send(b"get k\r\n" * 100 + b"quit\r\nget k\r\n")
        assert c.eof() == (item(b"k", b"v") + b"END\r\n") * 100


def test_every_request_is_counted_once(memcached):
    with Kvproxy([memcached]) as kv, kv.client() as c:
        c.ask(b"set k 0 0 1\r\nv\r\n" b"get k none\r\n" b"get none\r\n"
              b"delete none\r\n" b"incr none 1\r\n" b"add k 0 0 1\r\nv\r\n"
              b"version\r\n", b"STORED\r\nVALUE k 0 1\r\nv\r\nEND\r\nEND\r\n"
              b"NOT_FOUND\r\nNOT_FOUND\r\nNOT_STORED\r\n" + kv.version())
        stats = kv.stats()
        want = {"requests": 6, "reads": 2, "writes": 4, "keys_read": 3,
                "get_hits": 1, "get_misses": 2, "stored": 1, "not_stored": 3,
                "stores": 2,
                "failed_requests": 0, "bad_requests": 0, "retries": 0}
        assert {k: stats[k] for k in want} == want
        assert stats["cmd_get"] == 3 and stats["cmd_set"] == 2
        assert kv.backend(memcached, "requests") == 7
        c.ask(b"bogus\r\n", b"ERROR\r\n")
        assert kv.stat("bad_requests") == 1


COUNTED = ("cmd_get", "cmd_set", "cmd_touch", "get_hits", "get_misses",
           "touch_hits", "touch_misses")


def counted(client):
    """What a server, or kvproxy, says to have been asked."""
    client.send(b"stats\r\n")
    words = [line.split() for line in
             client.recv_until(b"END\r\n").split(b"\r\n")]
    stats = {w[1].decode(): w[2] for w in words if len(w) == 3}
    return {name: int(stats[name]) for name in COUNTED}


@pytest.mark.parametrize("request_", [
    b"set k 0 0 1\r\n1\r\n", b"add k 0 0 1\r\n1\r\n",
    b"replace none 0 0 1\r\n1\r\n", b"append k 0 0 1\r\n1\r\n",
    b"cas k 0 0 1 99\r\n1\r\n", b"set k 0 0 1 noreply\r\n1\r\n",
    b"get k\r\n", b"get none\r\n", b"gets k none k\r\n", b"gat 0 k\r\n",
    b"gat 0 none\r\n", b"gats 0 k none k\r\n", b"touch k 0\r\n",
    b"touch none 0\r\n", b"touch k 0 noreply\r\n", b"incr k 1\r\n",
    b"decr none 1\r\n", b"delete k\r\n", b"delete none\r\n",
    b"flush_all\r\n", b"ms k 1\r\n1\r\n", b"ms none 1 MR q\r\n1\r\n",
    b"mg k v\r\n", b"mg k\r\n", b"mg none v\r\n", b"mg none q\r\n",
    b"mg k v q\r\n", b"mg k T0 v\r\n", b"ma k\r\n",
    b"md k\r\n", b"me k\r\n",
    binary.store("set", b"k", b"1"), binary.store("addq", b"k", b"1"),
    binary.request("append", b"k", b"1"), binary.request("get", b"k"),
    binary.request("getq", b"none"), binary.request("getk", b"none"),
    binary.touch("touch", b"k", 0), binary.touch("touch", b"none", 0),
    binary.touch("gat", b"k", 0), binary.touch("gatq", b"none", 0),
    binary.count("incr", b"k"), binary.request("delete", b"k"),
    binary.request("flush")])
def test_requests_are_counted_as_memcached_counts_them(request_, proxy,
                                                       memcached):
    """Where the names are memcached's."""
    grown = []
    for of in (memcached, proxy):
        with of.client() as c, of.client() as watch:
            watch.ask(b"set k 0 0 1\r\n1\r\n" b"delete none\r\n",
                      b"STORED\r\nNOT_FOUND\r\n")
            before = counted(watch)
            if request_[0] == binary.REQUEST:
                c.send(request_ + binary.request("noop"))
                while binary.recv(c).op != binary.OPCODES["noop"]:
                    pass
            else:
                c.send(request_ + b"mn\r\n")
                c.recv_until(b"MN\r\n")
            after = counted(watch)
        grown.append({n: after[n] - before[n] for n in COUNTED})
    assert grown[0] == grown[1]


def test_an_mg_that_touches_nothing_is_a_touch_alone(proxy, memcached):
    """memcached counts it as a get."""
    for of, name in ((memcached, "get_misses"), (proxy, "touch_misses")):
        with of.client() as c:
            before = counted(c)
            c.ask(b"mg none T30 v\r\n", b"EN\r\n")
            assert counted(c)[name] == before[name] + 1


def test_writes_are_counted_by_what_was_said(proxy):
    """But for touches, and what goes to all."""
    names = ("writes", "stores", "stored", "not_stored", "reply_errors")

    with proxy.client() as c:
        store(c, b"k", b"v")
        c.ask(b"delete none\r\n", b"NOT_FOUND\r\n")
        for request, grown in (
                (b"gat 0 k\r\n", [1, 0, 0, 0, 0]),
                (b"touch none 0\r\n", [1, 0, 0, 0, 0]),
                (b"append k 0 0 1\r\nv\r\n", [1, 1, 1, 0, 0]),
                (b"add k 0 0 1\r\nv\r\n", [1, 1, 0, 1, 0]),
                (b"incr k 1\r\n", [1, 0, 0, 0, 1]),
                (b"delete k\r\n", [1, 0, 1, 0, 0]),
                (b"delete k\r\n", [1, 0, 0, 1, 0]),
                (b"flush_all\r\n", [1, 0, 0, 0, 0])):
            before = proxy.stats()
            c.ask_line(request + b"version\r\n")
            c.recv_until(proxy.version())
            after = proxy.stats()
            assert [after[n] - before[n] for n in names] == grown, request


def test_a_late_reply_counts_as_that_alone():
    """It is no hit, though its request goes on with its next key."""
    gate = threading.Event()
    with FakeBackend(script=lambda conn, req: gate.wait(20) and None) \
            as fake, Kvproxy([fake], core={"recv_timeout": 400,
                                           "client_window": 1,
                                           "read_failure": "miss"}) as kv, \
            kv.client() as c:
        fake.store.update({b"a": b"too late", b"b": b"in time"})
        c.send(b"get a b\r\n")
        wait_for(lambda: kv.backend(fake, "requests") == 2)
        gate.set()
        c.expect(item(b"b", b"in time") + b"END\r\n")
        stats = kv.stats()
        want = {"late_replies": 1, "get_hits": 1, "get_misses": 0,
                "fail_timeout": 1, "failed_as_miss": 1, "failed_requests": 0}
        assert {k: stats[k] for k in want} == want
        assert kv.backend(fake, "failed") == 1


def test_a_closed_client_has_a_counted_reason(memcached):
    """Every close has its counter."""
    with Kvproxy([memcached]) as kv:
        kv.tick()
        for data, counter in [(b"", "close_client"), (b"quit\r\n",
                              "close_quit"), (b"set k 0 0 -1\r\n",
                              "close_bad"), (b"x" * 3000, "close_bad")]:
            before = kv.stat(counter)
            with kv.client() as c:
                c.send_to_closing(data)
                if data:
                    c.eof()
            wait_for(lambda: kv.stat(counter) == before + 1, what=counter)
        wait_for(lambda: kv.stat("curr_connections") == 1)
