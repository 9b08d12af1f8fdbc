"""The limits of client connections: their number, their time, their bytes."""

import contextlib
import ctypes
import os
import resource
import select
import socket
import struct
import threading
import time

import pytest

from harness import (ASAN, SLACK, FakeBackend, Kvproxy, Memcached,
                     cpu_seconds, freeze, rss_bytes, thaw, wait_for)
from harness.text import FAIL

MIB = 1024 * 1024

FULL = b"ERROR Too many open connections\r\n"


@pytest.fixture(scope="module")
def memcached():
    with Memcached("-I", "4m") as m:
        yield m


def store(key, value):
    return b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value)


def item(key, value):
    return b"VALUE %s 0 %d\r\n%s\r\n" % (key, len(value), value)


def n_fds(pid):
    return len(os.listdir("/proc/%d/fd" % pid))


def is_served(client):
    """One that is refused gets its line with or without asking."""
    return client.ask_line(b"get none\r\n") == b"END\r\n"


def pause(seconds):
    """Let time pass, where that is what is tested."""
    end = time.monotonic() + seconds
    wait_for(lambda: time.monotonic() > end)


# Their number


@pytest.mark.parametrize("workers, limit", [(1, 1024), (2, 300), (4, 7)])
def test_C6_one_connection_over_the_limit(memcached, workers, limit):
    """It gets memcached's line and the end; those that are in stay, and who
    leaves makes room for another."""
    with contextlib.ExitStack() as stack, \
            Kvproxy([memcached], workers=workers,
                    core={"max_connections": limit}) as kv:
        def come():
            return stack.enter_context(kv.client())

        clients = [kv.client() for _ in range(limit - 1)]
        for c in clients:
            stack.enter_context(c)
            assert is_served(c)
        assert kv.stat("curr_connections") == limit
        for n in range(1, 101):
            c = come()
            if n % 2:
                c.send_to_closing(b"get none\r\n" * 100)
            assert c.eof() == FULL
            assert kv.stat("rejected_connections") == n
        assert kv.stat("curr_connections") == limit
        assert kv.stat("total_connections") == limit
        assert "too many connections" in kv.logged()
        for c in clients:
            assert is_served(c)
        clients[0].close()
        wait_for(lambda: kv.stat("curr_connections") == limit - 1)
        assert is_served(come()) and come().eof() == FULL


def test_C6_workers_that_race_never_let_in_too_many(memcached):
    """Many come at once, to all workers; the sum is read all the while."""
    limit = 50
    with Kvproxy([memcached], workers=4,
                 core={"max_connections": limit}) as kv:
        kv.tick()
        for _ in range(10):
            clients = [kv.client() for _ in range(4 * limit)]
            served = sum(c.send_to_closing(b"get none\r\n") and
                         c.recv_line() == b"END\r\n" for c in clients)
            # Both of two that race for the last place may be refused.
            assert limit - 5 <= served <= limit - 1
            for c in clients:
                c.close()
            wait_for(lambda: kv.stat("curr_connections") == 1)
        stats = kv.stats()
        assert stats["total_connections"] + stats["rejected_connections"] \
            == 10 * 4 * limit + 1


def test_refused_clients_hold_few_descriptors_and_no_memory(memcached):
    """Those that do not go away are closed soon, and no more than a few are
    waited for."""
    with contextlib.ExitStack() as stack, \
            Kvproxy([memcached], core={"max_connections": 1}) as kv:
        pid = kv.worker_pids()[0]
        kv.tick()
        before = n_fds(pid)
        for n in range(1, 301):
            stack.enter_context(kv.client())
        wait_for(lambda: kv.stat("rejected_connections") == 300)
        assert 0 < n_fds(pid) - before <= 32
        began = time.monotonic()
        wait_for(lambda: n_fds(pid) == before)
        assert time.monotonic() - began < 1 + SLACK


def limit_fds(kv, soft, hard, *args):
    return kv.run(*args, preexec_fn=lambda: resource.setrlimit(
        resource.RLIMIT_NOFILE, (soft, hard)))


def test_F10_more_connections_than_descriptors_are_refused(memcached):
    """The error names file, line and key, and how many there may be."""
    for workers in (1, 3):
        kv = Kvproxy([memcached], workers=workers,
                     core={"max_connections": 4000})
        with open(kv.ini) as f:
            line = f.read().split("\n").index("max_connections=4000") + 1
        for args in ([], ["-t"], ["-d"]):
            done = limit_fds(kv, 500, 500, *args)
            assert done.returncode == 1
            head = "kvproxy: %s:%d: [kvproxy] max_connections: 4000 is more " \
                "than the " % (kv.ini, line)
            assert done.stderr.startswith(head), done.stderr
            assert done.stderr.count("\n") == 1
        most = int(done.stderr[len(head):].split()[0])
        for n, code in ((most + 1, 1), (most, 0)):
            kv.write_ini({"max_connections": n}, {})
            assert limit_fds(kv, 500, 500, "-t").returncode == code
        with kv, contextlib.ExitStack() as stack:
            kv.tick()
            for _ in range(20):
                assert is_served(stack.enter_context(kv.client()))


def test_max_connections_0_is_what_the_descriptor_limit_allows(memcached):
    """What is kept back is enough for everything else: no accept fails."""
    kv = Kvproxy([memcached], workers=1)
    need = int(limit_fds(kv, 40, 40, "-t").stderr.split()[3])
    limited = kv.path("limited")
    with open(limited, "w") as f:
        f.write("#!/bin/sh\nulimit -n %d\nexec %s \"$@\"\n" %
                (need + 16, kv.program))
    os.chmod(limited, 0o700)
    kv.program = limited
    with kv, contextlib.ExitStack() as stack:
        kv.tick()
        clients = [stack.enter_context(kv.client()) for _ in range(100)]
        served = sum(map(is_served, clients))
        assert served == 31
        assert kv.stat("rejected_connections") == 69
        assert kv.stat("accept_errors") == 0


# No descriptor


def test_C7_the_last_descriptor_is_used_to_say_so(memcached):
    """The limit is hit for real.  Each one that comes is told and closed, the
    worker does not spin meanwhile, and it recovers."""
    with contextlib.ExitStack() as stack, Kvproxy([memcached]) as kv:
        pid = kv.worker_pids()[0]
        kv.tick()
        old = [stack.enter_context(kv.client()) for _ in range(5)]
        assert all(map(is_served, old))
        used = max(map(int, os.listdir("/proc/%d/fd" % pid))) + 1
        before = n_fds(pid)
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used, hard))
        # Numbers below that are free still.
        new = [stack.enter_context(kv.client())
               for _ in range(used - before)]
        assert all(map(is_served, new))
        for n in range(1, 51):
            c = stack.enter_context(kv.client())
            if n % 2:
                c.send_to_closing(b"get none\r\n")
            assert c.eof() == FULL
            assert kv.stat("rejected_connections") == n
        assert kv.stat("accept_errors") == 50
        assert n_fds(pid) <= used
        assert "cannot accept" not in kv.logged()
        # Who comes and stays is no reason to spin.
        late = [stack.enter_context(kv.client()) for _ in range(20)]
        wait_for(lambda: kv.stat("rejected_connections") == 70)
        cpu = cpu_seconds(pid)
        pause(1)
        assert cpu_seconds(pid) - cpu < 0.2
        assert all(c.eof() == FULL for c in late)
        assert all(map(is_served, old + new))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
        assert is_served(stack.enter_context(kv.client()))
        # The reserve is there again.
        used = max(map(int, os.listdir("/proc/%d/fd" % pid))) + 1
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used, hard))
        extra = [stack.enter_context(kv.client())
                 for _ in range(used - n_fds(pid))]
        assert all(map(is_served, extra))
        assert stack.enter_context(kv.client()).eof() == FULL
        old[0].close()
        wait_for(lambda: kv.stat("close_client") == 1)
        assert is_served(stack.enter_context(kv.client()))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


# Their time


def drip(client, data, pause):
    """Send DATA a byte at a time, a PAUSE after each, until the peer closes;
    how many bytes went and how long that took."""
    began = time.monotonic()
    for n in range(len(data)):
        if not client.send_to_closing(data[n:n + 1]):
            break
        if select.select([client.sock], [], [], pause)[0]:
            n += 1
            break
    return n, time.monotonic() - began


@pytest.mark.parametrize("data", [
    b"get aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", b"set k 0 0 100\r\n" + b"v" * 99,
    b"set k abc 0 100\r\n" + b"v" * 99, b"ms k 100 \r\n" + b"v" * 90,
    b"\x80" + b"\0" * 22], ids=["get", "set", "swallowed", "ms", "binary"])
def test_C1_a_request_a_byte_at_a_time(memcached, data):
    """However often a byte comes, it must be whole in time."""
    with Kvproxy([memcached], core={"request_timeout": 0.5}) as kv, \
            kv.client() as c, kv.client() as other:
        n, took = drip(c, data, 0.05)
        assert 0 < n < len(data)
        assert 0.5 <= took < 0.5 + SLACK
        assert c.eof() in (b"", b"CLIENT_ERROR bad command line format\r\n")
        wait_for(lambda: kv.stat("close_slow") == 1)
        assert kv.stat("close_idle") == 0
        assert is_served(other)


@pytest.mark.parametrize("data", [b"g", b"set k 0 0 5\r\n", b"\x80",
                                  b"\x80" + b"\0" * 22])
def test_C1_B16_a_piece_of_a_request_and_then_silence(memcached, data):
    with Kvproxy([memcached], core={"request_timeout": 0.3}) as kv, \
            kv.client() as c, kv.client() as idle:
        assert is_served(idle)
        began = time.monotonic()
        c.send(data)
        assert c.eof() == b""
        assert 0.3 <= time.monotonic() - began < 0.3 + SLACK
        wait_for(lambda: kv.stat("close_slow") == 1)
        # It is not for those who are between two requests.
        assert is_served(idle)


def test_what_was_asked_before_the_slow_one_is_answered(memcached):
    with Kvproxy([memcached], core={"request_timeout": 0.3}) as kv, \
            kv.client() as c:
        c.send(b"get none\r\n" * 3 + b"get no")
        assert c.eof() == b"END\r\n" * 3
        wait_for(lambda: kv.stat("close_slow") == 1)


def test_a_large_value_that_comes_steadily_is_not_cut(memcached):
    """Three times request_timeout, at many KiB a second."""
    value = os.urandom(300 * 1024)
    data = store(b"large", value)
    with Kvproxy([memcached], core={"request_timeout": 0.3}) as kv, \
            kv.client() as c:
        began = time.monotonic()
        for at in range(0, len(data), 10 * 1024):
            c.send(data[at:at + 10 * 1024])
            assert not select.select([c.sock], [], [], 0.03)[0] or \
                at + 10 * 1024 >= len(data)
        assert time.monotonic() - began > 0.9
        c.expect(b"STORED\r\n")
        c.ask(b"get large\r\n", item(b"large", value) + b"END\r\n")
        # The next one of the same client has no more time than any.
        c.send(b"get large")
        assert c.eof() == b""
        wait_for(lambda: kv.stat("close_slow") == 1)


def test_a_request_that_waits_for_its_client_to_read_is_not_cut(memcached):
    """It has begun, but it is us who do not read; when we do again, it has
    request_timeout from there."""
    value = b"v" * 1000000
    with Kvproxy([memcached], core={"request_timeout": 0.5}) as kv, \
            kv.client(rcvbuf=4096) as c:
        c.ask(store(b"v", value), b"STORED\r\n")
        c.send(b"get v\r\n" * 15 + b"get n")
        wait_for(lambda: kv.stat("get_hits") == 15)
        pauses = kv.stat("client_pauses")
        c.send(b"on")
        wait_for(lambda: kv.stat("client_pauses") > pauses)
        pause(1)
        for _ in range(15):
            c.expect(item(b"v", value) + b"END\r\n")
        pause(0.1)
        c.ask(b"e\r\n", b"END\r\n")
        assert kv.stat("close_slow") == 0
        c.send(b"get n")
        assert c.eof() == b""
        wait_for(lambda: kv.stat("close_slow") == 1)


def test_who_quits_and_does_not_read_is_not_waited_for(memcached):
    value = b"v" * 1000000
    with Kvproxy([memcached], core={"request_timeout": 0.3}) as kv, \
            kv.client(rcvbuf=4096) as c:
        c.ask(store(b"v", value), b"STORED\r\n")
        c.send(b"get v\r\n" * 15 + b"quit\r\n")
        wait_for(lambda: kv.stat("close_quit") == 1)
        assert kv.stat("curr_connections") == 1


@pytest.mark.parametrize("n", [1, 200])
def test_C11_idle_clients_are_closed_and_active_ones_kept(memcached, n):
    with contextlib.ExitStack() as stack, \
            Kvproxy([memcached], core={"idle_timeout": 0.5}) as kv:
        busy = stack.enter_context(kv.client())
        idle = [stack.enter_context(kv.client()) for _ in range(2 * n)]
        assert all(map(is_served, idle[:n]))	# the others say nothing
        began = time.monotonic()
        while select.select([c.sock for c in idle], [], [], 0.02)[0] == [] or \
                time.monotonic() - began < 1:
            assert is_served(busy)
        assert all(c.eof() == b"" for c in idle)
        assert 0.5 <= time.monotonic() - began < 1 + SLACK
        assert is_served(busy)
        # The connection that asks is one more.
        wait_for(lambda: kv.stat("close_idle") >= 2 * n)
        wait_for(lambda: kv.stat("curr_connections") == 2)


def test_C11_who_waits_for_an_answer_is_not_idle():
    """Nor is who has just had it: it counts from there."""
    gate = threading.Event()
    with FakeBackend(script=lambda conn, req: gate.wait(20) and None) \
            as fake, Kvproxy([fake], core={"idle_timeout": 0.3}) as kv, \
            kv.client() as c:
        c.send(b"get k\r\n")
        wait_for(lambda: fake.requests)
        pause(1)
        gate.set()
        c.expect(b"END\r\n")
        assert is_served(c)
        assert c.eof() == b""


def test_C11_what_came_while_the_worker_stood_still_counts(memcached):
    """When it goes on, time is over for all, before it has read them all."""
    with contextlib.ExitStack() as stack, \
            Kvproxy([memcached], core={"idle_timeout": 0.3}) as kv:
        pid = kv.worker_pids()[0]
        clients = [stack.enter_context(kv.client()) for _ in range(300)]
        assert is_served(clients[-1])
        freeze(pid)
        for c in clients:
            c.send(b"get none\r\n")
        pause(0.6)
        thaw(pid)
        for c in clients:
            c.expect(b"END\r\n")


def test_idle_timeout_0_closes_nobody(memcached):
    with Kvproxy([memcached], core={"request_timeout": 0.1}) as kv, \
            kv.client() as c:
        kv.tick()
        pause(0.5)
        assert is_served(c)
        assert kv.stat("close_idle") == kv.stat("close_slow") == 0


# Those that are gone


def vanish(sock):
    """From here on the kernel throws away every packet to SOCK, as if the
    machine were gone: nothing is acknowledged, and no reset is sent.  What
    SOCK itself would send must not be sent, its end included."""
    code = struct.pack("HBBI", 0x06, 0, 0, 0)		# BPF: return 0
    room = ctypes.create_string_buffer(code)
    sock.setsockopt(socket.SOL_SOCKET, 26,		# SO_ATTACH_FILTER
                    struct.pack("HL", 1, ctypes.addressof(room)))


def test_C13_an_idle_client_that_is_gone_without_a_word(memcached):
    with Kvproxy([memcached], core={"keepalive": 1,
                                    "tcp_user_timeout": 0}) as kv, \
            kv.client() as c, kv.client() as other:
        assert is_served(c) and is_served(other)
        vanish(c.sock)
        began = time.monotonic()
        wait_for(lambda: kv.stat("close_error") == 1, timeout=15)
        # A second of silence and four probes, a second each.
        assert 4 < time.monotonic() - began < 6 + SLACK
        assert is_served(other)


def test_C13_a_client_that_is_gone_with_its_replies_under_way(memcached):
    """Keepalive is no help there: what is not acknowledged is sent again, for
    a quarter of an hour."""
    value = b"v" * 1000000
    with Kvproxy([memcached], core={"tcp_user_timeout": 1}) as kv, \
            kv.client() as c, kv.client() as other:
        other.ask(store(b"v", value), b"STORED\r\n")
        c.send(b"get v\r\n")
        vanish(c.sock)
        began = time.monotonic()
        wait_for(lambda: kv.stat("close_error") == 1, timeout=15)
        assert time.monotonic() - began < 4 + SLACK
        other.ask(b"get v\r\n", item(b"v", value) + b"END\r\n")


def test_C13_a_client_that_reads_nothing_for_too_long(memcached):
    value = b"v" * 1000000
    with Kvproxy([memcached], core={"tcp_user_timeout": 1}) as kv, \
            kv.client(rcvbuf=4096) as c:
        c.ask(store(b"v", value), b"STORED\r\n")
        c.send(b"get v\r\n" * 20)
        wait_for(lambda: kv.stat("close_error") == 1, timeout=15)


def test_a_backend_that_is_gone_while_idle_is_found_out():
    with FakeBackend() as fake, \
            Kvproxy([fake], core={"keepalive": 1,
                                  "tcp_user_timeout": 1}) as kv, \
            kv.client() as c:
        assert is_served(c)
        vanish(fake.conns[0].sock)
        wait_for(lambda: kv.backend(fake, "idle_closes") == 1, timeout=15)
        kv.wait_connected(fake)
        assert is_served(c)
        assert kv.stat("failed_requests") == 0


def keepalive_timers(local=None, remote=None):
    """Of the TCP connections from port LOCAL or to port REMOTE: which have the
    timer by which the kernel will ask whether the peer is there."""
    with open("/proc/net/tcp") as f:
        rows = [line.split() for line in f][1:]
    ports = [[int(row[i].split(":")[1], 16) for i in (1, 2)] for row in rows]
    return [row[5].startswith("02:") for row, (l, r) in zip(rows, ports)
            if row[3] == "01" and local in (None, l) and remote in (None, r)]


@pytest.mark.parametrize("seconds", [60, 0])
def test_both_sides_are_watched_over_or_not(memcached, seconds):
    with Kvproxy([memcached], core={"keepalive": seconds}) as kv, \
            kv.client() as c:
        assert is_served(c)
        mine = c.sock.getsockname()[1]
        want = [seconds > 0]
        wait_for(lambda: keepalive_timers(kv.port, mine) == want)
        wait_for(lambda: want[0] in keepalive_timers(remote=memcached.port))
        assert keepalive_timers(remote=memcached.port) == want


# Their bytes


@pytest.mark.parametrize("buffer, window, counter", [
    (8, 8, "buffer_pauses"), (1, 256, "fail_unread")])
def test_C2_clients_that_never_read_share_the_workers_buffers(
        memcached, buffer, window, counter):
    """Each of them may have a lot, but not all of them at once, whether they
    ask little by little or all at once; the others have all that they ask
    for, meanwhile and after."""
    value, n, deaf_n = os.urandom(100 * 1024), 100, 20
    want = item(b"v", value) + b"END\r\n"
    with contextlib.ExitStack() as stack, \
            Kvproxy([memcached], core={"client_buffer": buffer,
                                       "client_window": window,
                                       "worker_buffer": 16}) as kv:
        c = stack.enter_context(kv.client())
        c.ask(store(b"v", value), b"STORED\r\n")
        deaf = [stack.enter_context(kv.client(rcvbuf=4096))
                for _ in range(deaf_n)]
        for d in deaf:
            # With small values it earns its window.
            d.ask(b"get none\r\n" * 250, b"END\r\n" * 250)
        for d in deaf:
            d.send(b"get v\r\n" * n)
            c.ask(b"get v\r\n", want)
        wait_for(lambda: kv.stat(counter) >= deaf_n // 2)
        for _ in range(50):
            began = time.monotonic()
            c.ask(b"get v\r\n" * 5, want * 5)
            c.ask(store(b"w", value), b"STORED\r\n")
            assert time.monotonic() - began < SLACK
        # Without a bound for all it would be 8 MiB each, or more.
        assert 16 * MIB < kv.stat("buffered_bytes") < 60 * MIB
        pid = kv.worker_pids()[0]
        assert ASAN or rss_bytes(pid) < 100 * MIB
        for d in deaf:
            for _ in range(n):
                line = d.recv_line()
                if line.startswith(FAIL):
                    continue
                assert line == b"VALUE v 0 %d\r\n" % len(value)
                d.expect(value + b"\r\nEND\r\n")
            assert is_served(d)
        wait_for(lambda: kv.stat("buffered_bytes") < MIB)
        # It was paid for by those who did not read.
        assert kv.stat("fail_unread") == kv.stat("failed_requests")


def test_large_requests_wait_for_room_and_all_arrive(memcached):
    """Each comes half, then all the rest: more than there is room for."""
    value, n = os.urandom(1000000), 20
    data = store(b"v", value)
    with contextlib.ExitStack() as stack, \
            Kvproxy([memcached], core={"worker_buffer": 8,
                                       "request_timeout": 1}) as kv:
        clients = [stack.enter_context(kv.client()) for _ in range(n)]
        rest = []
        for c in clients:
            sent = c.send_some(data[:len(data) // 2])
            rest.append(data[sent:])
        wait_for(lambda: kv.stat("buffer_waits") >= n - 4)
        other = stack.enter_context(kv.client())
        other.ask(b"get none\r\n" + store(b"small", b"x"),
                  b"END\r\nSTORED\r\n")
        assert kv.stat("buffered_bytes") < 12 * MIB
        senders = [threading.Thread(target=c.send, args=(r,), daemon=True)
                   for c, r in zip(clients, rest)]
        for s in senders:
            s.start()
        for c in clients:
            c.expect(b"STORED\r\n")
        for s in senders:
            s.join()
        other.ask(b"get v\r\n", item(b"v", value) + b"END\r\n")
        assert kv.stat("close_slow") == 0
        wait_for(lambda: kv.stat("buffered_bytes") < MIB)


def test_large_requests_that_end_halfway_make_room(memcached):
    """By a close, by a reset, by request_timeout: the next one has its turn,
    and one alone always has."""
    value = os.urandom(3000000)
    data = store(b"v", value)
    with contextlib.ExitStack() as stack, \
            Kvproxy([memcached], core={"worker_buffer": 1, "max_packet": 4,
                                       "request_timeout": 2}) as kv:
        for how in ("close", "reset", "slow"):
            waits = kv.stat("buffer_waits")
            first, second, third = [stack.enter_context(kv.client())
                                    for _ in range(3)]
            first.send(data[:200000])
            wait_for(lambda: kv.stat("buffered_bytes") > 3000000)
            second.send(data[:50])
            wait_for(lambda: kv.stat("buffer_waits") == waits + 1)
            third.send(data[:50])
            wait_for(lambda: kv.stat("buffer_waits") == waits + 2)
            if how == "close":
                first.close()
            elif how == "reset":
                first.reset()
            else:
                # What waits is not slow.
                wait_for(lambda: kv.stat("close_slow") == 1)
                assert first.eof() == b""
                pause(0.5)
            for c in (second, third):
                c.ask(data[50:], b"STORED\r\n")
        assert kv.stat("close_slow") == 1


def test_a_stop_does_not_wait_for_those_that_wait(memcached):
    data = store(b"v", b"v" * 600000)
    with contextlib.ExitStack() as stack, \
            Kvproxy([memcached], core={"worker_buffer": 1}) as kv:
        clients = [stack.enter_context(kv.client()) for _ in range(3)]
        for c in clients:
            c.send_some(data[:100000])
        wait_for(lambda: kv.stat("buffer_waits") == 2)
        began = time.monotonic()
        kv.stop()
        assert time.monotonic() - began < 1 + SLACK
