"""What it says of itself: totals that are exact and never go back, how long
things took, what was slow, and statistics that begin anew."""

import contextlib
import os
import re
import select
import signal
import threading
import time

import pytest

from harness import (BUILD, Client, Closed, FakeBackend, Kvproxy, Meanwhile,
                     Memcached, binary, free_port, wait_for)
from harness.moved import tables
from harness.text import FAIL, spelled

FAULTY = os.path.join(BUILD, "t", "fault_calls")

WORKER, HOST = tables()
TOTALS = [name for name, kind in WORKER.items() if kind == "TOTAL"] + \
    ["cmd_get", "cmd_set", "reloads", "reload_errors"]
HOST_TOTALS = [name for name, kind in HOST.items() if kind == "TOTAL"] + \
    ["ejections", "returns"]


@pytest.fixture
def two():
    with Memcached() as a, Memcached() as b:
        yield a, b


def grown(before, after):
    """What AFTER has more than BEFORE."""
    return {name: after[name] - before.get(name, 0) for name in after
            if isinstance(after[name], int) and
            after[name] != before.get(name, 0)}


def test_stats_have_every_counter_of_the_table(two):
    with Kvproxy(two) as kv:
        assert set(WORKER) <= set(kv.stats())
        for m in two:
            assert set(HOST) | {"state", "ejections", "returns"} == \
                set(kv.backend(m))


@pytest.mark.parametrize("kind", [b"", b"backends", b"services", b"workers",
                                  b"latency", b"settings", b"slow", b"items",
                                  b"slabs"])
def test_binary_clients_see_the_same(kind, two):
    with Kvproxy(two, core={"slow_ms": 1, "recv_timeout": 20}) as kv, \
            kv.client() as c, kv.client() as b:
        kv.wait_connected(*two)
        for m in two:
            m.freeze()
        assert c.ask_line(b"get k\r\n").startswith(FAIL)
        for m in two:
            m.thaw()
        kv.wait_connected(*two)
        c.send((b"stats %s" % kind).rstrip() + b"\r\n")
        lines = c.recv_until(b"END\r\n").split(b"\r\n")[:-2]
        b.send(binary.request("stat", kind, opaque=9))
        found = []
        while True:
            r = binary.recv(b)
            assert (r.op, r.status, r.opaque) == (
                binary.OPCODES["stat"], 0, 9)
            if not r.key:
                break
            found.append((r.key, r.value))
        assert r.value == b""
        assert [key for key, _ in found] == [li.split()[1] for li in lines]
        if kind in (b"settings", b"slow", b"latency"):
            assert [b"STAT %s %s" % f for f in found] == lines
        assert bool(found) == (kind not in (b"items", b"slabs"))


# A load of which everything is known


def steps(key):
    """One round of requests about KEY, which is new: what is asked, what is
    answered, what it counts, and what it asks of servers."""
    def read(keys, hits):
        return {"requests": 1, "reads": 1, "keys_read": keys,
                "get_hits": hits, "get_misses": keys - hits}
    yes = {"requests": 1, "writes": 1, "stored": 1}
    no = {"requests": 1, "writes": 1, "not_stored": 1}
    value = b"VALUE %s 0 2\r\n42\r\n" % key
    return [
        (b"set %s 0 0 2\r\n42\r\n" % key, b"STORED\r\n",
         dict(yes, stores=1), "write", 1),
        (b"get %s\r\n" % key, value + b"END\r\n", read(1, 1), "read", 1),
        (b"get none.%s\r\n" % key, b"END\r\n", read(1, 0), "read", 1),
        (b"get %s none.%s %s\r\n" % (key, key, key), value * 2 + b"END\r\n",
         read(3, 2), "multi", 3),
        (b"add %s 0 0 1\r\nx\r\n" % key, b"NOT_STORED\r\n",
         dict(no, stores=1), "write", 1),
        (b"incr %s 8\r\n" % key, b"50\r\n", yes, "write", 1),
        (b"mg %s v\r\n" % key, b"VA 2\r\n50\r\n", read(1, 1), "read", 1),
        (b"delete none.%s\r\n" % key, b"NOT_FOUND\r\n", no, "write", 1),
        (b"incr %s x\r\n" % key, b"CLIENT_ERROR invalid numeric delta "
         b"argument\r\n", {"bad_requests": 1}, None, 0),
        (b"delete %s\r\n" % key, b"DELETED\r\n", yes, "write", 1),
    ]


class Known:
    """N clients that ask one thing after another, and know what each of them
    counts.  One that is closed in the middle begins anew, with keys that
    nobody has seen; what it had under way is in `lost`."""

    def __init__(self, kv, n=16):
        self.kv = kv
        self.counted = {}
        self.latency = {}
        self.legs = self.lost = self.answers = self.rounds = 0
        self.trouble = None
        self.stopping = False
        self.waiting = {self._client(): None for _ in range(n)}
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _client(self):
        return Client(self.kv.port)

    def _ask(self, client, left):
        if not left:
            self.rounds += 1
            left = steps(b"round%d" % self.rounds)
        client.send(left[0][0])
        self.waiting[client] = left

    def _take(self, client):
        left = self.waiting[client]
        _, want, counts, latency, legs = left[0]
        try:
            client.expect(want)
        except (Closed, ConnectionError):
            self.lost += 1
            client.close()
            del self.waiting[client]
            return self._client(), None
        self.answers += 1
        self.counted.update({name: self.counted.get(name, 0) + n
                             for name, n in counts.items()})
        self.latency[latency] = self.latency.get(latency, 0) + 1
        self.legs += legs
        return client, left[1:]

    def _run(self):
        try:
            for client in list(self.waiting):
                self._ask(client, None)
            while any(self.waiting.values()):
                busy = [c for c, left in self.waiting.items() if left]
                ready, _, _ = select.select([c.sock for c in busy], [], [],
                                            20)
                assert ready, "no answer"
                for client in [c for c in busy if c.sock in ready]:
                    client, left = self._take(client)
                    if self.stopping:
                        self.waiting[client] = None
                    else:
                        self._ask(client, left)
                time.sleep(0.001)
        except BaseException as e:
            self.trouble = e

    def wait(self, n):
        """Until N more requests were answered."""
        end = self.answers + n
        wait_for(lambda: self.answers >= end or self.trouble, 30,
                 "%d requests" % n)

    def stop(self):
        self.stopping = True
        self.thread.join(30)
        assert not self.thread.is_alive()
        if self.trouble is not None:
            raise self.trouble

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, exc_type, *exc):
        self.stopping = True
        self.thread.join(30)
        for client in self.waiting:
            client.close()
        if exc_type is None and self.trouble is not None:
            raise self.trouble


class Watcher(Meanwhile):
    """Asks for `stats`, `stats backends` and `status` all the time: no total
    of them ever goes back."""

    pause = 0.002

    def __init__(self, kv):
        super().__init__()
        self.kv = kv
        self.last = {}
        self.looks = 0

    def _see(self, name, value):
        if value < self.last.get(name, 0):
            self.wrong.append((name, self.last[name], value))
        self.last[name] = value

    def once(self):
        stats = self.kv.stats()
        for name in TOTALS:
            self._see(name, stats[name])
        for name, value in self.kv.stats("backends").items():
            if name.rsplit(":", 1)[1] in HOST_TOTALS:
                self._see(name, value)
        # A host's failures stand first, and then its failures in a row.
        seen = set()
        for name, value in re.findall(
                r"^(Number of (?:processed requests|requests failed)|  - \S+)"
                r" \[(\d+)\]$", self.kv.status(), re.M):
            if name not in seen:
                self._see(name, int(value))
            seen.add(name)
        self.looks += 1

    def __exit__(self, exc_type, *exc):
        super().__exit__(exc_type, *exc)
        if exc_type is None:
            assert self.looks > 10 and not self.wrong, self.wrong


def n_latencies(kv):
    stats = kv.stats("latency")
    return {name: stats[name + ":count"]
            for name in ("read", "multi", "write", "every")}


def check_exact(kv, load, hosts):
    """Every total is what LOAD says: in `stats`, `stats backends`, `stats
    services`, `stats workers`, `stats latency` and `status`."""
    stats = kv.stats()
    assert {n: stats[n] for n in load.counted} == load.counted
    assert stats["cmd_get"] == load.counted["keys_read"]
    assert stats["cmd_set"] == load.counted["stores"]
    slots, services = kv.slots().values(), kv.stats("services")
    for name, n in load.counted.items():
        assert sum(slot[name] for slot in slots) == n, name
        assert services["memcached:" + name] == n, name
    assert sum(kv.backend(m, "requests") for m in hosts) == load.legs
    want = {name: load.latency.get(name, 0) for name in n_latencies(kv)}
    assert n_latencies(kv) == want
    latency = kv.stats("latency")
    assert sum(latency[m.name + ":count"] for m in hosts) == load.legs
    assert "Number of processed requests [%d]" % load.counted["requests"] in \
        kv.status()
    for name in ("failed_requests", "reply_errors", "fail_timeout", "moved",
                 "rejected_connections", "accept_errors"):
        assert stats[name] == 0, name


def check_connections(stats):
    """Each that was accepted is there or was closed for a reason; each that
    was given to another worker was taken by one."""
    assert stats["total_connections"] == stats["curr_connections"] + sum(
        n for name, n in stats.items() if name.startswith("close_"))
    assert stats["clients_given"] == stats["clients_taken"]


def test_totals_are_exact_over_two_workers(two):
    with Kvproxy(two, workers=2) as kv:
        kv.wait_connected(*two)
        with Watcher(kv), Known(kv) as load:
            load.wait(3000)
            load.stop()
        check_exact(kv, load, two)
        assert min(s["requests"] for s in kv.slots().values()) > 0


def test_totals_are_exact_through_reloads(two):
    """Also those of workers that are there no more."""
    with Kvproxy(two, workers=2) as kv:
        kv.wait_connected(*two)
        with Watcher(kv), Known(kv) as load:
            for n in (2, 1, 3, 2):
                load.wait(500)
                kv.reload(workers=n)
            load.wait(500)
            load.stop()
        assert load.lost == 0
        check_exact(kv, load, two)
        check_connections(kv.stats())
        assert kv.stat("reloads") == 4


def test_a_killed_worker_takes_no_more_than_was_under_way(two):
    with Kvproxy(two, workers=2) as kv:
        kv.lose_workers = True
        kv.wait_connected(*two)
        with Watcher(kv) as watcher, Known(kv) as load:
            for _ in range(3):
                load.wait(500)
                victim = kv.worker_pids()[0]
                looks = watcher.looks
                os.kill(victim, signal.SIGKILL)
                wait_for(lambda: victim not in kv.worker_pids() and
                         kv.all_workers(), what="another worker")
                wait_for(lambda: watcher.looks > looks + 3)
            load.wait(500)
            load.stop()
        assert load.lost > 0
        stats, services = kv.stats(), kv.stats("services")
        for name, n in load.counted.items():
            # A get of several counts up to three keys.
            most = load.lost * (3 if "get_" in name or "key" in name else 1)
            assert n <= stats[name] <= n + most, name
            assert services["memcached:" + name] == stats[name]
        legs = sum(kv.backend(m, "requests") for m in two)
        assert load.legs <= legs <= load.legs + 3 * load.lost
        for name, n in n_latencies(kv).items():
            had = load.latency.get(name, 0)
            assert had <= n <= had + load.lost, name


def test_bytes_are_exact(two):
    with Kvproxy(two, workers=2) as kv, contextlib.ExitStack() as stack:
        kv.wait_connected(*two)
        clients = [stack.enter_context(kv.client()) for _ in range(10)]
        asker = stack.enter_context(kv.client())

        def ask():
            asker.send(b"stats\r\n")
            return asker.recv_until(b"END\r\n")

        def n_bytes(text):
            return [int(re.search(rb"STAT %s (\d+)" % name, text).group(1))
                    for name in (b"bytes_read", b"bytes_written")]
        first = ask()
        # Its own request had come, its answer had not gone.
        want = n_bytes(first)
        want[1] += len(first)
        for i, c in enumerate(clients):
            for data, reply, *_ in steps(b"client%d" % i):
                c.ask(data, reply)
                want[0] += len(data)
                want[1] += len(reply)

        def is_exact():
            want[0] += len(b"stats\r\n")
            text = ask()
            got = n_bytes(text)
            assert got[0] <= want[0] and got[1] <= want[1]
            had = list(want)
            want[1] += len(text)
            return got == had
        wait_for(is_exact)


def test_connections_are_exact(two):
    with Kvproxy(two, workers=2, core={"max_connections": 20}) as kv, \
            contextlib.ExitStack() as stack:
        before = kv.stats()
        clients = []
        for _ in range(12):
            c = stack.enter_context(kv.client())
            c.ask(b"get none\r\n", b"END\r\n")
            clients.append(c)
        assert kv.stat("curr_connections") == 13
        for c in clients[:3]:
            c.send(b"quit\r\n")
        clients[3].reset()
        clients[4].close()
        for c in clients[5:7]:
            c.send(b"a" * 5000)
        clients[7].send(b"set k 0 0 nonsense\r\n")
        wait_for(lambda: kv.stat("curr_connections") == 13 - 8)
        for _ in range(15):
            clients.append(stack.enter_context(kv.client()))
            clients[-1].ask(b"get none\r\n", b"END\r\n")
        for _ in range(4):
            c = stack.enter_context(kv.client())
            assert c.eof() == b"ERROR Too many open connections\r\n"
        more = grown(before, kv.stats())
        closed = {n: v for n, v in more.items() if n.startswith("close_")}
        assert closed.pop("close_client") + closed.pop("close_error", 0) == 2
        assert closed == {"close_quit": 3, "close_bad": 3}
        assert more["rejected_connections"] == 4
        assert more["total_connections"] == 12 + 15
        assert more["curr_connections"] == 4 + 15
        check_connections(kv.stats())


def test_what_is_sent_because_of_a_reply_is_counted():
    """A classic read of a stale item gives its token to recache back: it asks
    for the CAS, and marks the item anew."""
    with Memcached() as m, Kvproxy([m]) as kv, kv.client() as c:
        kv.wait_connected(m)
        for key in (b"fresh", b"stale"):
            c.ask(b"set %s 0 0 1\r\nv\r\n" % key, b"STORED\r\n")
        m.ask(b"md stale I T30\r\n", b"HD\r\n")
        for key, more in ((b"fresh", 0), (b"stale", 2)):
            before = kv.stats()
            c.ask(b"get %s\r\n" % key,
                  b"VALUE %s 0 1\r\nv\r\nEND\r\n" % key)
            after = kv.stats()
            assert after["follow_ups"] - before["follow_ups"] == more
            # The client has asked once.
            assert after["requests"] - before["requests"] == 1
            assert after["keys_read"] - before["keys_read"] == 1
            assert after["get_hits"] - before["get_hits"] == 1


# How long it took


class Timed(FakeBackend):
    """Answers reads after times of known shares, and notes how long each
    took from its coming to its answer."""

    def __init__(self, delays_ms):
        self.delays_ms = delays_ms
        self.took_ms = []
        super().__init__(script=self._answer)

    def _answer(self, conn, req):
        begin = time.monotonic()
        # The key says which, so that all workers have the same shares.
        delay = self.delays_ms[int(req.key[1:]) % len(self.delays_ms)]
        time.sleep(delay / 1000)
        conn.send(req.hit(b"v"))
        self.took_ms.append((time.monotonic() - begin) * 1000)
        return b""

    def quantile(self, p):
        took = sorted(self.took_ms)
        return took[max(0, -int(-p * len(took) // 1) - 1)]


DELAYS_MS = [20] * 28 + [50] * 6 + [100] * 4 + [200] * 2


def ask_in_turn(client, n):
    for i in range(n):
        client.ask(b"get k%d\r\n" % i,
                   b"VALUE k%d 0 1\r\nv\r\nEND\r\n" % i)


def test_latencies_are_those_of_the_host():
    """Within 5 % of what the host has seen itself; it was this machine that
    was slow where that fails once."""
    def round_of(kv, fake, clients):
        reset_text(clients[0])
        del fake.took_ms[:]
        threads = [threading.Thread(target=ask_in_turn, args=(c, 80))
                   for c in clients.values()]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        wait_for(lambda: len(fake.took_ms) == 160)
        stats = kv.stats("latency")
        assert stats["read:count"] == stats[fake.name + ":count"] == 160
        wrong = []
        for what in ("read", fake.name):
            for name, p in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
                got = float(stats["%s:%s_us" % (what, name)]) / 1000
                want = fake.quantile(p)
                if abs(got - want) > want * 0.05:
                    wrong.append((what, name, got, want))
            assert stats[what + ":max_us"] >= 200000
            assert stats[what + ":mean_us"] >= sum(DELAYS_MS) / len(
                DELAYS_MS) * 1000
        return wrong

    with Timed(DELAYS_MS) as fake, Kvproxy([fake], workers=2) as kv:
        kv.wait_connected(fake)
        with kv.client_on_each() as clients:
            wrong = [round_of(kv, fake, clients)]
            while wrong[-1] and len(wrong) < 3:
                wrong.append(round_of(kv, fake, clients))
            assert not wrong[-1], wrong


def test_latencies_have_classes_of_their_own(two):
    """And what is answered here, or in error, is in none."""
    with Kvproxy(two) as kv, kv.client() as c, kv.client() as b:
        kv.wait_connected(*two)
        for data, reply, latency in [
                (b"get a\r\n", b"END\r\n", "read"),
                (b"gets a\r\n", b"END\r\n", "read"),
                (b"mg a v\r\n", b"EN\r\n", "read"),
                (b"gat 10 a\r\n", b"END\r\n", "write"),
                (b"get a b\r\n", b"END\r\n", "multi"),
                (b"set a 0 0 1\r\nx\r\n", b"STORED\r\n", "write"),
                (b"set a 0 0 1 noreply\r\nx\r\n", b"", "write"),
                (b"touch a 0\r\n", b"TOUCHED\r\n", "write"),
                (b"delete a\r\n", b"DELETED\r\n", "write"),
                (b"flush_all\r\n", b"OK\r\n", "every"),
                (b"version\r\n", None, None), (b"mn\r\n", b"MN\r\n", None),
                (b"get\r\n", b"ERROR\r\n", None)]:
            before = n_latencies(kv)
            c.send(data)
            if reply is None:
                c.recv_line()
            else:
                c.expect(reply)
            if latency is not None:
                wait_for(lambda: n_latencies(kv) != before, what=data)
            assert grown(before, n_latencies(kv)) == \
                ({latency: 1} if latency else {}), data
        before = n_latencies(kv)
        b.send(binary.request("getq", b"a") + binary.request("noop"))
        assert binary.recv(b).op == binary.OPCODES["noop"]
        assert grown(before, n_latencies(kv)) == {"read": 1}


def test_a_request_that_timed_out_is_in_its_class_and_not_in_its_host():
    """The host has not answered; its client has waited."""
    with FakeBackend(script=lambda conn, req: b"") as fake, \
            Kvproxy([fake], core={"recv_timeout": 100}) as kv, \
            kv.client() as c:
        kv.wait_connected(fake)
        assert c.ask_line(b"get k\r\n").startswith(FAIL)
        stats = kv.stats("latency")
        assert stats["read:count"] == 1
        assert stats["read:max_us"] >= 100000
        assert stats[fake.name + ":count"] == 0


# What was slow


SLOW = re.compile(r"slow: (\w+) \"(.*)\"(\.\.\.)? at (\S+): (\d+) ms"
                  r"( without an answer)?, (\d+) of them before it was sent$")
MORE = re.compile(r"slow: (\d+) more in that second$")
ENTRY = re.compile(r"(\S+) (\w+) (.*) (\S+) (answered|failed) "
                   r"total_us=(\d+) queued_us=(\d+)$")


def slow_lines(kv):
    found = [SLOW.search(line) for line in kv.logged().splitlines()]
    return [m.groups() for m in found if m]


def slow_entries(kv):
    """`stats slow`, the newest first."""
    stats = kv.stats("slow")
    assert list(stats) == ["slow:%d" % i for i in range(len(stats))]
    found = [ENTRY.match(v) for v in stats.values()]
    assert all(found), stats
    return [m.groups() for m in found]


class Sleepy(FakeBackend):
    """Answers requests for keys that begin with PREFIX when told to."""

    def __init__(self, prefix=b"slow"):
        self.prefix = prefix
        self.gate = threading.Event()
        super().__init__(script=self._answer)

    def _answer(self, conn, req):
        if req.key.startswith(self.prefix):
            self.gate.wait(20)
        return req.hit(b"v") if req.is_read() else None


def sleep_past(begin, seconds):
    """What is slow is a matter of time: until SECONDS after BEGIN."""
    wait_for(lambda: time.monotonic() > begin + seconds)


def test_a_slow_request_is_logged_and_remembered():
    with Sleepy() as fake, Kvproxy([fake], core={"slow_ms": 50}) as kv, \
            kv.client() as c:
        kv.wait_connected(fake)
        c.ask(b"get quick\r\n", b"VALUE quick 0 1\r\nv\r\nEND\r\n")
        begin = time.monotonic()
        now = time.time()
        c.send(b"get slow\r\n")
        wait_for(lambda: fake.seen(b"slow"))
        sleep_past(begin, 0.08)
        fake.gate.set()
        c.expect(b"VALUE slow 0 1\r\nv\r\nEND\r\n")
        took_ms = (time.monotonic() - begin) * 1000
        what, key, cut, host, total, failed, queued = wait_for(
            lambda: slow_lines(kv))[0]
        assert (what, key, cut, host, failed) == (
            "read", "slow", None, fake.name, None)
        assert 60 <= int(total) <= took_ms and int(queued) < 50
        (at, what, key, host, how, total_us, queued_us), = slow_entries(kv)
        assert (what, key, host, how) == ("read", "slow", fake.name,
                                          "answered")
        assert int(total_us) // 1000 == int(total)
        assert int(queued_us) // 1000 == int(queued)
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}$", at)
        at = time.mktime(time.strptime(at[:-4], "%Y-%m-%dT%H:%M:%S"))
        assert now - 1 <= at <= time.time()
        assert kv.stat("slow_requests") == 1


@pytest.mark.parametrize("key, shown", [
    (b"slow\x01\x7f\xff", r"slow\x01\x7f\xff"),
    (b'slow" at 1.2.3.4:5: 0 ms\nfatal: all is lost\\',
     r'slow"\x20at\x201.2.3.4:5:\x200\x20ms\x0afatal:\x20all\x20is\x20lost'
     r'\x5c'),
    (b"slow" + b"k" * 60, "slow" + "k" * 60),
    (b"slow" + b"k" * 61, "slow" + "k" * 60 + "..."),
    (b"slow" + b"k" * 246, "slow" + "k" * 60 + "..."),
    (b"slow" + b"\x80" * 100, "slow" + r"\x80" * 60 + "..."),
])
def test_a_slow_key_is_escaped_and_cut(key, shown):
    # The host may be asked in base64.
    with Sleepy(b"") as fake, Kvproxy([fake], core={"slow_ms": 1}) as kv, \
            kv.client() as c:
        kv.wait_connected(fake)
        begin = time.monotonic()
        c.send(binary.request("get", key))
        wait_for(lambda: fake.requests)
        sleep_past(begin, 0.01)
        fake.gate.set()
        assert binary.recv(c).value == b"v"
        entry, = wait_for(lambda: slow_entries(kv))
        assert entry[2] == shown
        line, = [li for li in kv.logged().splitlines() if " slow: " in li]
        assert ': read "%s"%s at %s: ' % (
            shown.replace("...", ""), "..." if "..." in shown else "",
            fake.name) in line


def test_slow_writes_and_parts_of_large_requests_are_told_apart(two):
    with Sleepy() as fake, Kvproxy([fake], core={"slow_ms": 20}) as kv, \
            kv.client() as c:
        kv.wait_connected(fake)
        begin = time.monotonic()
        c.send(b"set slow1 0 0 1\r\nx\r\nget slow2 slow3\r\nflush_all\r\n")
        wait_for(lambda: fake.seen(b"slow1"))
        sleep_past(begin, 0.04)
        fake.gate.set()
        c.expect(b"STORED\r\nVALUE slow2 0 1\r\nv\r\nVALUE slow3 0 1\r\nv\r\n"
                 b"END\r\nOK\r\n")
        wait_for(lambda: kv.stat("slow_requests") == 4)
        assert [e[1:3] for e in slow_entries(kv)][::-1] == [
            ("write", "slow1"), ("multi", "slow2"),
            ("multi", "slow3"), ("every", "-")]


def fill_slow(client, fake, n, prefix=b"slow"):
    """N slow requests of one client, all under way at once."""
    # A client's window grows with what it has been answered.
    client.ask(b"get quick\r\n" * n,
               b"VALUE quick 0 1\r\nv\r\nEND\r\n" * n)
    fake.gate.clear()
    keys = [b"%s%03d" % (prefix, i) for i in range(n)]
    begin = time.monotonic()
    client.send(b"".join(b"get %s\r\n" % k for k in keys))
    wait_for(lambda: fake.seen(keys[0]))
    sleep_past(begin, 0.03)
    fake.gate.set()
    for key in keys:
        client.expect(b"VALUE %s 0 1\r\nv\r\nEND\r\n" % key)


def test_no_more_than_ten_a_second_are_logged():
    with Sleepy() as fake, Kvproxy([fake], core={"slow_ms": 20}) as kv, \
            kv.client() as c:
        kv.wait_connected(fake)
        fill_slow(c, fake, 100)
        wait_for(lambda: kv.stat("slow_requests") == 100)
        # They may lie in two seconds; how many more there were in one is
        # said when it is over.
        wait_for(lambda: len(slow_lines(kv)) + sum(
            int(m.group(1)) for m in map(
                MORE.search, kv.logged().splitlines()) if m) == 100, 5)
        assert 10 <= len(slow_lines(kv)) <= 20
        assert len(slow_entries(kv)) == 64


def test_stats_slow_has_the_last_ones_of_all_workers():
    with Sleepy() as fake, Kvproxy([fake], workers=2,
                                   core={"slow_ms": 20}) as kv:
        kv.wait_connected(fake)
        with kv.client_on_each() as clients:
            fill_slow(clients[0], fake, 70, b"slow0.")
            assert [e[2] for e in slow_entries(kv)] == [
                "slow0.%03d" % i for i in range(69, 5, -1)]
            fill_slow(clients[1], fake, 30, b"slow1.")
            fill_slow(clients[0], fake, 3, b"slow2.")
            entries = slow_entries(kv)
            assert len(entries) == 64
            times = [e[0] for e in entries]
            assert times == sorted(times, reverse=True)
            assert [e[2] for e in entries] == [
                "slow2.%03d" % i for i in (2, 1, 0)] + [
                "slow1.%03d" % i for i in range(29, -1, -1)] + [
                "slow0.%03d" % i for i in range(69, 38, -1)]
            for c in clients.values():
                c.send(b"stats slow\r\n")
                assert c.recv_until(b"END\r\n").count(b"STAT slow:") == 64


def test_time_before_it_was_sent_is_told_while_the_connection_is_blocked():
    """The host does not read: a value fills its connection, and what comes
    behind it stays here."""
    big = 8 << 20
    gate = threading.Event()

    def hold(conn, req):
        if req.key == b"first":
            gate.wait(20)
        return req.hit(b"v") if req.is_read() else None

    with FakeBackend(script=hold, rcvbuf=4096) as fake, \
            Kvproxy([fake], core={"slow_ms": 50, "max_packet": 16}) as kv, \
            kv.client() as one, kv.client() as other:
        kv.wait_connected(fake)
        one.send(b"get first\r\n")
        wait_for(lambda: fake.seen(b"first"))
        one.send(b"set big 0 0 %d\r\n" % big + b"x" * big + b"\r\n")
        wait_for(lambda: kv.stat("writes") == 1)
        begin = time.monotonic()
        other.send(b"get behind\r\n")
        wait_for(lambda: kv.stat("reads") == 2)
        sleep_past(begin, 0.1)
        gate.set()
        other.expect(b"VALUE behind 0 1\r\nv\r\nEND\r\n")
        entries = {e[2]: e for e in slow_entries(kv)}
        total, queued = map(int, entries["behind"][5:])
        assert 90000 <= queued <= total
        total, queued = map(int, entries["first"][5:])
        assert queued < 50000 and total >= 90000


def test_time_before_it_was_sent_is_told_while_the_connection_is_renewed():
    with Sleepy() as fake, Kvproxy([fake], core={
            "slow_ms": 50, "connect_timeout": 5000}) as kv, kv.client() as c:
        kv.wait_connected(fake)
        greeted = threading.Event()
        real = fake.greeting

        def late(line):
            greeted.wait(20)
            return real(line)

        fake.greeting = late
        before = len(fake.conns)
        fake.conns[-1].close()
        wait_for(lambda: len(fake.conns) > before)
        begin = time.monotonic()
        c.send(b"get k\r\n")
        wait_for(lambda: kv.stat("reads") == 1)
        sleep_past(begin, 0.1)
        greeted.set()
        c.expect(b"VALUE k 0 1\r\nv\r\nEND\r\n")
        (_, _, key, _, how, total, queued), = slow_entries(kv)
        assert (key, how) == ("k", "answered")
        assert 90000 <= int(queued) <= int(total)


def test_a_request_that_times_out_is_slow_and_failed():
    with Sleepy() as fake, Kvproxy([fake], core={
            "slow_ms": 50, "recv_timeout": 100}) as kv, kv.client() as c:
        kv.wait_connected(fake)
        assert c.ask_line(b"get slow\r\n").startswith(FAIL)
        (_, what, key, host, how, total, queued), = slow_entries(kv)
        assert (what, key, host, how) == ("read", "slow", fake.name,
                                          "failed")
        assert int(total) >= 100000 and int(queued) < 50000
        line, = slow_lines(kv)
        assert line[:4] == ("read", "slow", None, fake.name)
        assert line[5] == " without an answer"
        # Its late answer is nobody's: it counts once.
        fake.gate.set()
        wait_for(lambda: kv.stat("late_replies") == 1)
        assert kv.stat("slow_requests") == 1


def test_a_request_that_was_never_sent_has_waited_all_its_time():
    with Sleepy() as fake, Kvproxy([fake], core={
            "slow_ms": 50, "recv_timeout": 100, "connect_timeout": 5000,
            "failover_threshold": 100}) as kv, kv.client() as c:
        kv.wait_connected(fake)
        hold = threading.Event()
        real = fake.greeting
        fake.greeting = lambda line: hold.wait(20) and real(line)
        before = len(fake.conns)
        fake.conns[-1].close()
        wait_for(lambda: len(fake.conns) > before)
        assert c.ask_line(b"get k\r\n").startswith(FAIL)
        (_, _, key, _, how, total, queued), = slow_entries(kv)
        assert (key, how) == ("k", "failed")
        assert int(queued) == int(total) >= 100000
        hold.set()


def test_slow_ms_changes_with_a_reload_and_0_is_none():
    with Sleepy() as fake, Kvproxy([fake], workers=2) as kv, \
            kv.client() as c:
        kv.wait_connected(fake)
        fill_slow(c, fake, 3)
        assert kv.stat("slow_requests") == 0 and not slow_entries(kv)
        kv.reload(core={"slow_ms": 20})
        fill_slow(c, fake, 3)
        wait_for(lambda: kv.stat("slow_requests") == 3)
        kv.reload(core={"slow_ms": 60000})
        fill_slow(c, fake, 3)
        kv.reload(core={"slow_ms": 0})
        fill_slow(c, fake, 3)
        assert kv.stat("slow_requests") == 3
        # What was remembered stays.
        assert len(slow_entries(kv)) == 3 == len(slow_lines(kv))


# Statistics that begin anew


def reset_text(client):
    client.ask(b"stats reset\r\n", b"RESET\r\n")


def reset_binary(client):
    client.send(binary.request("stat", b"reset", opaque=7))
    r = binary.recv(client)
    assert (r.op, r.status, r.opaque, r.key, r.value) == (
        binary.OPCODES["stat"], 0, 7, b"", b"")


@pytest.mark.parametrize("reset", [reset_text, reset_binary])
def test_statistics_begin_anew(two, reset):
    with Kvproxy(two, workers=2, core={"slow_ms": 60000}) as kv:
        kv.wait_connected(*two)
        with Known(kv) as load:
            load.wait(500)
            load.stop()
            done = load.counted["requests"]
            before = kv.stats()
            connected = {m: kv.backend(m, "connected") for m in two}
            with kv.client() as c:
                reset(c)
                assert before["curr_connections"] == 17
                after = kv.stats()
            assert after["curr_connections"] == 18
            assert after["server_connections"] == \
                before["server_connections"] == 4
            own = {"bytes_read", "bytes_written", "total_connections",
                   "close_client", "clients_given", "clients_taken"}
            assert {n: after[n] for n in TOTALS
                    if n not in own and after[n]} == {}
            assert after["bytes_read"] < before["bytes_read"]
            for m in two:
                host = kv.backend(m)
                assert host["connected"] == connected[m] == 2
                assert {n: host[n] for n in HOST if host[n]} == \
                    {"connected": 2}
            latency = kv.stats("latency")
            assert not any(v for v in latency.values()), latency
            slots, services = kv.slots().values(), kv.stats("services")
            assert [s["requests"] for s in slots] == [0, 0]
            assert [s["starts"] for s in slots] == [1, 1]
            assert services["memcached:requests"] == 0
            assert services["memcached:server_connections"] == 4
            # The block goes on.
            assert "processed requests [%d]" % done in kv.status()


def test_what_comes_after_a_reset_is_exact(two):
    """Whichever worker was told, whichever is asked."""
    with Kvproxy(two, workers=2) as kv, kv.client_on_each() as clients:
        kv.wait_connected(*two)
        for told in (0, 1, 1, 0):
            with Known(kv) as load:
                load.wait(300)
                load.stop()
            reset_text(clients[told])
            with Known(kv) as load:
                load.wait(300)
                load.stop()
            for c in clients.values():
                c.send(b"stats\r\n")
                text = c.recv_until(b"END\r\n")
                for name, n in load.counted.items():
                    assert b"STAT %s %d\r\n" % (name.encode(), n) in text
            slots, services = kv.slots().values(), kv.stats("services")
            for name, n in load.counted.items():
                assert sum(s[name] for s in slots) == n
                assert services["memcached:" + name] == n
            assert n_latencies(kv) == {
                n: load.latency.get(n, 0) for n in n_latencies(kv)}
            assert sum(kv.backend(m, "requests") for m in two) == load.legs


def test_a_reset_holds_through_kills_and_reloads(two):
    with Kvproxy(two, workers=2) as kv:
        kv.lose_workers = True
        kv.wait_connected(*two)
        with Known(kv) as load:
            load.wait(300)
            load.stop()
        with kv.client_on_each() as clients:
            reset_text(clients[1])
        reset_at = kv.stat("requests")
        assert reset_at == 0
        # The one that was told is there no more: its word is.
        os.kill(kv.slots()[1]["pid"], signal.SIGKILL)
        wait_for(lambda: kv.slots()[1]["starts"] == 2 and kv.all_workers())
        assert kv.stat("requests") == 0
        kv.reload(workers=1)
        assert kv.stat("requests") == 0
        with kv.client() as c:
            c.ask(b"get none\r\n", b"END\r\n")
        assert kv.stat("requests") == 1


def test_nothing_is_slow_after_a_reset():
    """But what has been since."""
    with Sleepy() as fake, Kvproxy([fake], workers=2,
                                   core={"slow_ms": 20}) as kv, \
            kv.client() as c:
        kv.wait_connected(fake)
        for _ in range(2):
            fill_slow(c, fake, 3)
            wait_for(lambda: len(slow_entries(kv)) == 3)
            reset_text(c)
            assert slow_entries(kv) == []
        fill_slow(c, fake, 2)
        wait_for(lambda: len(slow_entries(kv)) == 2)


@pytest.mark.parametrize("reset, answer", [
    (b"stats reset\r\n", b"SERVER_ERROR out of memory\r\n"),
    (binary.request("stat", b"reset", opaque=7), None)])
def test_a_reset_for_which_there_is_no_room_is_refused(two, reset, answer):
    """And said in the log, once a second; what was counted stays."""
    kv = Kvproxy(two, program=FAULTY)
    kv.env["KVPROXY_FULL"] = full = kv.path("full")
    with kv, kv.client() as c:
        c.ask(b"get none\r\n", b"END\r\n")
        c.close()
        with kv.client() as c:
            open(full, "w").close()
            begin = time.monotonic()
            for _ in range(50):
                c.send(reset)
                if answer is not None:
                    c.expect(answer)
                    continue
                r = binary.recv(c)
                assert (r.op, r.status, r.opaque) == (
                    binary.OPCODES["stat"], 0x82, 7)
            assert kv.stat("requests") == 1
            lines = kv.logged().count("cannot reset")
            assert 1 <= lines <= 2 + time.monotonic() - begin
            os.unlink(full)
            c.send(reset)
            if answer is not None:
                c.expect(b"RESET\r\n")
            else:
                assert binary.recv(c).status == 0
            assert kv.stat("requests") == 0


def test_C8_who_resets_all_the_time_holds_up_nobody(two):
    """With many hosts that takes long; one is done in a turn, and others
    come between."""
    n = 1000
    with Kvproxy(two, service={"failover": "none"}) as kv, \
            kv.client() as greedy, kv.client() as c:
        kv.reload(group=list(two) + [kv.path("h%d" % i) for i in range(700)])
        kv.tick()
        greedy.send(b"stats reset\r\n" * n)
        for _ in range(4):
            c.ask(b"version\r\n", kv.version())
        assert greedy.n_unread() < n * len(b"RESET\r\n") / 2
        greedy.expect(b"RESET\r\n" * n)


def test_a_host_that_comes_after_a_reset_counts_from_0(two):
    a, b = two
    with Kvproxy([a], workers=2) as kv:
        kv.wait_connected(a)
        with kv.client() as c:
            reset_text(c)
            kv.reload(group=[a, b])
            kv.wait_connected(a, b)
            for i in range(40):
                c.ask(b"get none%d\r\n" % i, b"END\r\n")
            shares = [kv.backend(m, "requests") for m in two]
            assert sum(shares) == 40 and all(shares)
            latency = kv.stats("latency")
            assert [latency[m.name + ":count"] for m in two] == shares
            assert kv.backend(b, "connects") == 2
            reset_text(c)
            assert [kv.backend(m, "requests") for m in two] == [0, 0]
            assert kv.backend(b, "connects") == 0
            # And one that goes and comes again.
            kv.reload(group=[a])
            kv.reload(group=[a, b])
            kv.wait_connected(a, b)
            assert kv.backend(b, "requests") == 0


def test_ejections_begin_anew(two):
    a, b = two
    with Kvproxy(two, workers=2) as kv, kv.client() as c:
        kv.wait_connected(a, b)
        for _ in range(2):
            a.kill()
            kv.wait_state(a, "out")
            a.start()
            kv.wait_state(a, "up")
            host = kv.backend(a)
            assert (host["ejections"], host["returns"]) == (1, 1)
            assert host["events"] > 0 and host["connect_errors"] > 0
            reset_text(c)
            host = kv.backend(a)
            assert (host["ejections"], host["returns"]) == (0, 0)
            assert host["events"] == host["connect_errors"] == 0
            assert host["state"] == "up"


def test_totals_of_status_go_on_through_resets(two):
    """Under load, with resets all the time: nothing goes back there, and in
    `stats` nothing becomes huge."""
    def processed(kv):
        return int(re.search(r"processed requests \[(\d+)\]",
                             kv.status()).group(1))
    with Kvproxy(two, workers=2) as kv, kv.client_on_each() as clients:
        kv.wait_connected(*two)
        with Known(kv) as load:
            last = 0
            for i in range(200):
                reset_text(clients[i % 2])
                assert max(kv.stat(n) for n in ("requests", "stored")) < 1 << 40
                latency = kv.stats("latency")
                assert all(int(v) < 1 << 40 for v in latency.values())
                now = processed(kv)
                assert now >= last
                last = now
            load.stop()
        assert processed(kv) == load.counted["requests"]


# Services


def test_each_service_has_its_own_counters():
    """And `stats` has their sum; a section that comes with a reload begins at
    0, and one that returns goes on."""
    port = free_port()
    other = {"extension": "memcached.so", "hosts": "group", "port": port}
    with Memcached() as m, Kvproxy([m], workers=2,
                                   more={"other": other}) as kv:
        kv.wait_connected(m)
        with kv.client() as c:
            c.ask(b"get k\r\n" * 3, b"END\r\n" * 3)
        with Client(port) as c:
            c.ask(b"set k 0 0 1\r\nx\r\nget k\r\n",
                  b"STORED\r\nVALUE k 0 1\r\nx\r\nEND\r\n")

        def numbers():
            services, total = kv.stats("services"), kv.stats()
            for name in ("requests", "reads", "writes", "get_hits",
                         "get_misses", "stored"):
                assert total[name] == sum(
                    services[s + ":" + name] for s in names), name
            return [services[s + ":requests"] for s in names]

        names = ["memcached", "other"]
        assert numbers() == [3, 2]
        # Those that are of none are not there.
        assert {n for n in WORKER if "other:" + n not in kv.stats("services")} \
            == {"clients_given", "clients_taken", "buffered_bytes",
                "log_dropped"}
        names = ["memcached"]
        kv.reload(more={"other": None})
        assert kv.stats("services")["memcached:requests"] == 3
        assert not [n for n in kv.stats("services") if "other" in n]
        assert kv.stat("requests") == 5
        names = ["memcached", "other"]
        kv.reload(more={"OTHER": other})
        assert kv.stats("services")["other:requests"] == 2


def test_open_connections_are_those_of_each_service():
    """Wherever they are, and when one's worker is killed."""
    port = free_port()
    other = {"extension": "memcached.so", "hosts": "group", "port": port}

    def wait_connections(*want):
        names = ["%s:curr_connections" % s for s in ("memcached", "other")]
        wait_for(lambda: [kv.stats("services")[n] for n in names] ==
                 list(want), what="%r connections" % (want,))
        assert kv.stat("curr_connections") == sum(want)

    with Memcached() as m, Kvproxy([m], workers=3, core={
            "max_connections": 12}, more={"other": other}) as kv, \
            contextlib.ExitStack() as stack:
        kv.lose_workers = True
        mine = [stack.enter_context(kv.client()) for _ in range(4)]
        others = [stack.enter_context(Client(port)) for _ in range(6)]
        for c in mine + others:
            c.ask(b"get k\r\n", b"END\r\n")
        # One more is that which asks.
        wait_connections(5, 6)
        with Client(port) as c:
            c.ask(b"get k\r\n", b"END\r\n")
            with Client(port) as late:
                assert late.recv_line() == \
                    b"ERROR Too many open connections\r\n"
            assert kv.stats("services")["other:rejected_connections"] == 1
        for c in others[:3]:
            c.close()
        wait_connections(5, 3)
        kv.reload(workers=1)
        wait_connections(5, 3)
        os.kill(kv.worker_pids()[0], signal.SIGKILL)
        for c in others[3:]:
            c.eof()
        kv.ctl.close()
        kv.ctl = None
        wait_connections(1, 0)


def test_a_blank_in_a_name_does_not_end_it():
    """Of a service, and of a host that is a path."""
    with Memcached() as m, Kvproxy([m], more={"its name": {
            "extension": "memcached.so", "hosts": "group",
            "port": free_port()}}) as kv:
        path = kv.path("a socket")
        kv.reload(group=[m, path])
        assert kv.stats("services")[spelled("its name:requests")] == 0
        name = spelled(path)
        assert kv.stats("backends")[name + ":requests"] == 0
        assert kv.stats("latency")[name + ":count"] == 0
        assert "  - %s [0]\n" % path in kv.status()
