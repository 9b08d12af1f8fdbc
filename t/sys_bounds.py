"""Bounds: what clients may cost in memory, and what happens without it."""

import os
import threading

import pytest

from harness import (ASAN, BUILD, Closed, FakeBackend, Kvproxy, Memcached,
                     cpu_seconds, rss_bytes, wait_for)
from harness.text import FAIL

MIB = 1024 * 1024
FAULTY = os.path.join(BUILD, "t", "fault_calls")


def item(key, value):
    return b"VALUE %s 0 %d\r\n%s\r\n" % (key, len(value), value)


def store(key, value):
    return b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value)


# Memory


def test_unread_large_values_have_a_bound():
    """A client has earned a large window with small values, asks for many
    large ones at once and does not read.  What is over the bound fails, in
    its turn."""
    n, bound = 256, 64 * MIB
    values = {b"big%d" % i: b"%d" % i * 1048000 for i in range(4)}
    with Memcached("-I", "4m") as m, Kvproxy([m]) as kv, \
            kv.client(rcvbuf=4096) as deaf:
        pid = kv.worker_pids()[0]
        for key, value in values.items():
            m.ask(store(key, value), b"STORED\r\n")
        for _ in range(3):
            deaf.ask(b"get none\r\n" * 100, b"END\r\n" * 100)
        before = rss_bytes(pid)
        deaf.send(b"".join(b"get big%d\r\n" % (i % 4) for i in range(n)))
        wait_for(lambda: kv.stat("get_hits") == n)
        assert rss_bytes(pid) - before < bound + 24 * MIB
        failed = 0
        for i in range(n):
            key = b"big%d" % (i % 4)
            line = deaf.recv_line()
            if line.startswith(FAIL):
                failed += 1
            else:
                assert line == b"VALUE %s 0 1048000\r\n" % key
                deaf.expect(values[key] + b"\r\nEND\r\n")
        assert 0 < failed < n
        stats = kv.stats()
        assert stats["fail_unread"] == stats["failed_requests"] == failed
        deaf.ask(b"get none\r\n", b"END\r\n")


def keys_by_host(kv, client, *fakes):
    """3000 keys by the host where they live."""
    client.send(b"get " + b" ".join(b"q%d" % i for i in range(3000)) +
                b"\r\n")
    client.recv_until(b"END\r\n")
    return [[r.key for r in f.requests] for f in fakes]


def test_items_that_came_early_are_kept_also_after_a_part_went_out():
    """A get of many: one host answers one key at a time, the other's values
    must wait for those.  However much has gone out, what waits is bounded."""
    value, steps = b"f" * 100000, 20
    one = threading.Semaphore(0)

    def slowly(conn, req):
        one.acquire()
        return req.hit(b"s")

    with FakeBackend() as slow, FakeBackend() as fast, \
            Kvproxy([slow, fast], core={"recv_timeout": 60000,
                                        "client_window": 4096}) as kv, \
            kv.client() as c:
        slow_keys, fast_keys = keys_by_host(kv, c, slow, fast)
        # In the end all of it may wait for us: no more than a client may have.
        order = slow_keys[:steps + 1] + fast_keys[:600]
        fast.script = lambda conn, req: req.hit(value)
        c.send(b"get " + b" ".join(fast_keys[-60:]) + b"\r\n")
        c.recv_until(b"END\r\n")
        slow.script = slowly
        asked = kv.backend(fast, "requests")
        c.send(b"get " + b" ".join(order) + b"\r\n")
        for key in order[:steps]:
            one.release()
            c.expect(item(key, b"s"))
            kv.tick()
            kv.tick()
        assert kv.backend(fast, "requests") - asked < 100
        for _ in range(len(order)):
            one.release()
        c.expect(item(order[steps], b"s") + b"".join(
            item(key, value) for key in order[steps + 1:]) + b"END\r\n")


def test_a_client_whose_request_had_no_answer_holds_no_buffer():
    n = 900
    with Memcached() as m, Kvproxy([m]) as kv:
        pid = kv.worker_pids()[0]
        clients = [kv.client() for _ in range(n)]
        for c in clients:
            c.ask(b"get none\r\n", b"END\r\n")
        before = rss_bytes(pid)
        for c in clients:
            c.send(b"set k 0 0 1 noreply\r\nv\r\n")
            kv.tick()
        wait_for(lambda: kv.stat("stored") == n)
        assert rss_bytes(pid) - before < n * 1024
        for c in clients:
            c.close()


def test_a_long_line_that_comes_in_small_pieces_costs_little():
    """3 MB of keys; at every piece the end of the line is looked for."""
    keys = [b"%0250d" % i for i in range(12000)]
    line = b"get " + b" ".join(keys)
    with FakeBackend() as fake, Kvproxy([fake], core={"max_packet": 8}) \
            as kv, kv.client() as c:
        pid = kv.worker_pids()[0]
        kv.tick()
        cpu = cpu_seconds(pid)
        for at in range(0, len(line), 16384):
            c.send(line[at:at + 16384])
            kv.tick()
        wait_for(lambda: kv.stat("bytes_read") >= len(line))
        assert cpu_seconds(pid) - cpu < (1.5 if ASAN else 0.5)
        assert fake.requests == [] and c.is_quiet()
        c.ask(b"\r\n", b"END\r\n")
        assert kv.stat("get_misses") == len(keys)


def test_replies_to_a_full_socket_cost_no_futile_send():
    """Once it was found full, nothing is sent before there is room."""
    value = b"x" * 20000
    with FakeBackend() as fake:
        fake.store[b"k"] = value
        kv = Kvproxy([fake], program=FAULTY)
        kv.env["KVPROXY_FUTILE"] = path = kv.path("futile")
        with kv, kv.client(rcvbuf=4096) as deaf:
            n = 0
            while not os.path.exists(path):
                n += 1
                deaf.send(b"get k\r\n")
                wait_for(lambda: kv.stat("get_hits") == n)
                kv.tick()
            before = os.path.getsize(path)
            for i in range(40):
                deaf.send(b"get none\r\n")
                wait_for(lambda: kv.stat("get_misses") == i + 1)
            assert os.path.getsize(path) == before
            deaf.expect((item(b"k", value) + b"END\r\n") * n +
                        b"END\r\n" * 40)


# No memory


def talk(client, data, n):
    """Send DATA, N requests: their answers as far as they came."""
    lines = []
    try:
        client.send(data)
        for _ in range(n):
            lines.append(client.recv_line())
    except (Closed, ConnectionError):
        pass
    return lines


@pytest.mark.parametrize("dialect", ["meta", "text"])
def test_P16_whichever_malloc_fails_no_value_is_taken_for_a_command(dialect):
    """Two clients store; one malloc meanwhile fails, the first one, the
    second, and so on until there are no more.  Each store is done or fails or
    its client is closed, and half a frame never reaches the server's next
    connection: the next value is full of commands."""
    trap = (b"\r\nflush_all" * 1000 + b"\r\n")[:10000]
    sizes, fired = {b"a": b"A" * 10000, b"b": b"B" * 10000, b"c": trap}, 0
    counted = 0
    with Memcached() as m, m.client() as direct:
        direct.ask(store(b"canary", b"x"), b"STORED\r\n")
        for nth in range(1, 100):
            kv = Kvproxy([m], service={"backend_proto": dialect},
                         program=FAULTY)
            fault = kv.path("fault")
            kv.env["KVPROXY_FAULT"] = fault
            with kv, kv.client() as c1, kv.client() as c2:
                direct.ask(b"delete a noreply\r\ndelete b noreply\r\n"
                           b"delete c noreply\r\nmn\r\n", b"MN\r\n")
                kv.wait_connected(m)
                with open(fault, "w") as f:
                    f.write("%-8d" % nth)
                done = talk(c1, store(b"a", sizes[b"a"]) +
                            store(b"b", sizes[b"b"]), 2)
                done += [b""] * (2 - len(done))
                done += talk(c2, store(b"c", trap), 1)
                all_done = not os.path.exists(fault)
                if not all_done:
                    os.unlink(fault)
                for key, line in zip((b"a", b"b", b"c"), done):
                    direct.send(b"get %s\r\n" % key)
                    values, _ = direct.recv_values()
                    assert values in ([], [(key, 0, sizes[key])])
                    assert line in (b"", b"STORED\r\n") or \
                        line.startswith(FAIL), line
                    if line == b"STORED\r\n":
                        assert values
                direct.ask(b"get canary\r\n", item(b"canary", b"x") +
                           b"END\r\n")
                wait_for(lambda: kv.backend(m, "connected") == 1)
                with kv.client() as c3:
                    c3.ask(store(b"c", trap), b"STORED\r\n")
                counted += kv.stat("fail_memory") > 0
                fired += all_done
                if not all_done:
                    break
        assert fired >= 3 and 0 < counted <= fired


def test_P16_a_value_that_there_is_no_room_for_costs_its_client():
    """It has come in part, and the buffer for the rest cannot be had."""
    value = b"A" * 200000
    with Memcached() as m:
        kv = Kvproxy([m], program=FAULTY)
        fault = kv.path("fault")
        kv.env["KVPROXY_FAULT"] = fault
        with kv, kv.client() as c1, kv.client() as c2:
            kv.wait_connected(m)
            for c in (c1, c2):
                c.ask(b"get k\r\n", b"END\r\n")
            with open(fault, "w") as f:
                f.write("%-8d" % 1)
            c1.send(store(b"k", value)[:1000])
            assert c1.eof() == b""
            assert kv.stat("close_memory") == 1
            assert not os.path.exists(fault)
            c2.ask(store(b"k", value) + b"get k\r\n",
                   b"STORED\r\n" + item(b"k", value) + b"END\r\n")
