"""What the backup group has of what was written."""

import contextlib
import os
import random
import signal
import threading
import time

import pytest

from harness import (SLACK, FakeBackend, Kvproxy, Load, Memcached, Relay,
                     binary, wait_for)
from harness.text import FAIL, expect_failure, hit

CORE = {"failover_interval": 0.3, "recv_timeout": 1000}


def core(**more):
    return dict(CORE, **more)


def held(server, keys):
    """Those of KEYS that SERVER has: flags, value, and whether it has a time
    to live."""
    found = {}
    with server.client() as c:
        for at in range(0, len(keys), 100):
            part = keys[at:at + 100]
            c.send(b"".join(b"mg %s k f t v\r\n" % k for k in part))
            for key in part:
                line = c.recv_line()
                if line.startswith(b"EN"):
                    continue
                words = line.split()
                assert words[0] == b"VA" and words[2] == b"k" + key, line
                value = c.recv_exactly(int(words[1]) + 2)[:-2]
                ttl = int(words[4][1:])
                found[key] = (words[3], value, ttl if ttl < 0 else
                              round(ttl, -2))
    return found


def copied(kv):
    """Nothing waits any more."""
    return wait_for(lambda: kv.stat("copies_queued") == 0 and
                    kv.stats(), what="the copies to be gone")


def check_same(kv, primary, backup, keys):
    """Both hold the same values; how many that are."""
    copied(kv)
    there = held(primary, keys)
    assert held(backup, keys) == there
    return len(there)


@pytest.fixture(params=["meta", "text"])
def dialect(request):
    return request.param


@pytest.fixture
def pair():
    with Memcached() as primary, Memcached() as backup:
        yield primary, backup


@contextlib.contextmanager
def replicated(primary, backup, **kwargs):
    kwargs.setdefault("core", CORE)
    with Kvproxy([primary], backup=[backup], **kwargs) as kv:
        kv.wait_connected(primary, backup)
        yield kv


# Effects


EFFECTS = [
    # name, what the primary holds before, request, both hold after
    ("set", None, b"set k 7 0 1\r\nx\r\n", b"x"),
    ("add", None, b"add k 7 0 1\r\nx\r\n", b"x"),
    ("replace", b"1", b"replace k 7 0 1\r\nx\r\n", b"x"),
    ("append", b"1", b"append k 0 0 1\r\nx\r\n", b"1x"),
    ("prepend", b"1", b"prepend k 0 0 1\r\nx\r\n", b"x1"),
    ("incr", b"1", b"incr k 5\r\n", b"6"),
    ("decr", b"7", b"decr k 5\r\n", b"2"),
    ("touch", b"1", b"touch k 500\r\n", b"1"),
    ("gat", b"1", b"gat 500 k\r\n", b"1"),
    ("gats", b"1", b"gats 500 k none\r\n", b"1"),
    ("delete", b"1", b"delete k\r\n", None),
    ("set noreply", None, b"set k 7 0 1 noreply\r\nx\r\n", b"x"),
    ("add noreply", None, b"add k 7 0 1 noreply\r\nx\r\n", b"x"),
    ("append noreply", b"1", b"append k 0 0 1 noreply\r\nx\r\n", b"1x"),
    ("incr noreply", b"1", b"incr k 5 noreply\r\n", b"6"),
    ("touch noreply", b"1", b"touch k 500 noreply\r\n", b"1"),
    ("delete noreply", b"1", b"delete k noreply\r\n", None),
    ("ms", None, b"ms k 1 F7 T500\r\nx\r\n", b"x"),
    ("ms q", None, b"ms k 1 F7 q\r\nx\r\n", b"x"),
    ("ms ME", None, b"ms k 1 ME\r\nx\r\n", b"x"),
    ("ms MR", b"1", b"ms k 1 MR\r\nx\r\n", b"x"),
    ("ms MA", b"1", b"ms k 1 MA\r\nx\r\n", b"1x"),
    ("ms MP q", b"1", b"ms k 1 MP q\r\nx\r\n", b"x1"),
    ("ms base64", None, b"ms aw== 1 b\r\nx\r\n", b"x"),
    ("md", b"1", b"md k\r\n", None),
    ("md q", b"1", b"md k q\r\n", None),
    ("ma", b"1", b"ma k D5\r\n", b"6"),
    ("ma MD q", b"7", b"ma k MD D5 q\r\n", b"2"),
    ("ma N", None, b"ma k N500 J9\r\n", b"9"),
    ("mg T", b"1", b"mg k T500 v\r\n", b"1"),
    ("binary set", None, binary.store("set", b"k", b"x", 7), b"x"),
    ("binary setq", None, binary.store("setq", b"k", b"x", 7, 500), b"x"),
    ("binary add", None, binary.store("add", b"k", b"x"), b"x"),
    ("binary addq", None, binary.store("addq", b"k", b"x"), b"x"),
    ("binary replace", b"1", binary.store("replace", b"k", b"x"), b"x"),
    ("binary replaceq", b"1", binary.store("replaceq", b"k", b"x"), b"x"),
    ("binary append", b"1", binary.request("append", b"k", b"x"), b"1x"),
    ("binary prependq", b"1", binary.request("prependq", b"k", b"x"), b"x1"),
    ("binary incr", b"1", binary.count("incr", b"k", 5), b"6"),
    ("binary incrq", b"1", binary.count("incrq", b"k", 5), b"6"),
    ("binary incr of none", None, binary.count("incr", b"k", 5, 9, 500), b"9"),
    ("binary decrq", b"7", binary.count("decrq", b"k", 5), b"2"),
    ("binary touch", b"1", binary.touch("touch", b"k", 500), b"1"),
    ("binary gat", b"1", binary.touch("gat", b"k", 500), b"1"),
    ("binary gatq", b"1", binary.touch("gatq", b"k", 500), b"1"),
    ("binary delete", b"1", binary.request("delete", b"k"), None),
    ("binary deleteq", b"1", binary.request("deleteq", b"k"), None),
]


def ask(c, request):
    """Send REQUEST, and behind it what is answered when all of it was."""
    c.send(request + (binary.request("noop") if request[0] == binary.REQUEST
                      else b"mn\r\n"))


def answered(c, is_binary):
    if not is_binary:
        c.recv_until(b"MN\r\n")
        return
    while binary.recv(c).op != binary.OPCODES["noop"]:
        pass


def settle(c, request):
    ask(c, request)
    answered(c, request[0] == binary.REQUEST)


@pytest.fixture(scope="module", params=["meta", "text"])
def effects(request):
    with Memcached() as primary, Memcached() as backup, \
            Kvproxy([primary], backup=[backup], core=CORE,
                    service={"backend_proto": request.param}) as kv:
        kv.wait_connected(primary, backup)
        yield kv, primary, backup


def prepare(servers, value):
    for s in servers:
        s.ask(b"flush_all\r\n", b"OK\r\n")
        if value is not None:
            s.ask(b"set k 3 0 %d\r\n%s\r\n" % (len(value), value),
                  b"STORED\r\n")


@pytest.mark.parametrize("before, request_, after",
                         [e[1:] for e in EFFECTS], ids=[e[0] for e in EFFECTS])
def test_the_backup_has_the_effect_of(effects, before, request_, after):
    kv, primary, backup = effects
    prepare((primary, backup), before)
    made = kv.stats()
    with kv.client() as c:
        settle(c, request_)
    stats = copied(kv)
    here, there = held(primary, [b"k"]), held(backup, [b"k"])
    assert here == there
    assert (here[b"k"][1] if here else None) == after
    assert stats["copies"] == made["copies"] + 1
    assert stats["copies_sent"] == made["copies_sent"] + 1
    assert stats["copies_failed"] == made["copies_failed"]


def test_a_counters_new_time_to_live_is_copied(pair):
    primary, backup = pair
    with replicated(primary, backup) as kv, kv.client() as c:
        c.ask(b"ms k 1\r\n1\r\nma k T500 v\r\n", b"HD\r\nVA 1\r\n2\r\n")
        check_same(kv, primary, backup, [b"k"])
        assert held(backup, [b"k"])[b"k"] == (b"f0", b"2", 500)


def test_the_backup_has_the_value_of_a_cas(effects):
    kv, primary, backup = effects
    prepare((primary, backup), b"1")
    with kv.client() as c:
        c.send(b"gets k\r\n")
        token = c.recv_until(b"END\r\n").split()[4]
        c.ask(b"cas k 5 0 1 %s\r\nx\r\ncas k 5 0 1 %s\r\ny\r\n" %
              (token, token), b"STORED\r\nEXISTS\r\n")
        check_same(kv, primary, backup, [b"k"])
        assert held(backup, [b"k"])[b"k"] == (b"f5", b"x", -1)
    with kv.client() as c:
        c.send(binary.request("get", b"k"))
        cas = binary.recv(c).cas
        settle(c, binary.store("set", b"k", b"z", cas=cas))
        settle(c, binary.store("set", b"k", b"no", cas=cas))
        check_same(kv, primary, backup, [b"k"])
        assert held(backup, [b"k"])[b"k"][1] == b"z"


NOTHING = [
    ("add", b"1", b"add k 0 0 1\r\nx\r\n"),
    ("replace", None, b"replace k 0 0 1\r\nx\r\n"),
    ("append", None, b"append k 0 0 1\r\nx\r\n"),
    ("cas", b"1", b"cas k 0 0 1 1\r\nx\r\n"),
    ("incr", None, b"incr k 1\r\n"),
    ("incr of no number", b"x", b"incr k 1\r\n"),
    ("touch", None, b"touch k 5\r\n"),
    ("gat", None, b"gat 5 k\r\n"),
    ("get", b"1", b"get k\r\n"),
    ("mg", b"1", b"mg k v\r\n"),
    ("bad", b"1", b"incr k x\r\n"),
    ("binary addq", b"1", binary.store("addq", b"k", b"x")),
    ("binary get", b"1", binary.request("get", b"k")),
    ("binary incr", None, binary.count("incr", b"k", 1, 0, binary.NEVER)),
]


@pytest.mark.parametrize("before, request_", [e[1:] for e in NOTHING],
                         ids=[e[0] for e in NOTHING])
def test_the_backup_is_told_nothing_of(effects, before, request_):
    """What it has of its own stays."""
    kv, primary, backup = effects
    prepare((primary, backup), before)
    backup.ask(b"set k 0 0 3\r\nown\r\n", b"STORED\r\n")
    made = kv.stat("copies")
    with kv.client() as c:
        settle(c, request_)
    assert kv.stat("copies") == made
    assert held(backup, [b"k"])[b"k"][1] == b"own"


def test_a_delete_that_finds_nothing_deletes_at_the_backup(effects):
    kv, primary, backup = effects
    for request in (b"delete k\r\n", b"md k\r\n",
                    binary.request("delete", b"k")):
        prepare((primary, backup), None)
        backup.ask(b"set k 0 0 3\r\nown\r\n", b"STORED\r\n")
        with kv.client() as c:
            settle(c, request)
        check_same(kv, primary, backup, [b"k"])


def test_a_value_too_large_for_the_primary_is_deleted_at_the_backup(effects):
    kv, primary, backup = effects
    prepare((primary, backup), b"1")
    big = b"x" * (1024 * 1024 + 1)
    with kv.client() as c:
        c.ask(b"set k 0 0 %d\r\n%s\r\n" % (len(big), big),
              b"SERVER_ERROR object too large for cache\r\n")
        assert check_same(kv, primary, backup, [b"k"]) == 0


def mixed(rng, key, big):
    """A request for KEY, its reply awaited by settle."""
    n = rng.randrange(1000)
    value = b"v%d" % n if not big else b"v%d" % n * 5000
    size = (len(value), value)
    return rng.choice([
        b"set %s 1 0 %d\r\n%s\r\n" % ((key,) + size),
        b"add %s 2 0 %d\r\n%s\r\n" % ((key,) + size),
        b"replace %s 3 900 %d\r\n%s\r\n" % ((key,) + size),
        b"set %s 1 0 %d noreply\r\n%s\r\n" % ((key,) + size),
        b"append %s 0 0 1\r\na\r\n" % key,
        b"prepend %s 0 0 1 noreply\r\np\r\n" % key,
        b"set %s 0 0 2\r\n%d\r\n" % (key, 10 + n % 90),
        b"incr %s %d\r\n" % (key, n),
        b"decr %s 3 noreply\r\n" % key,
        b"touch %s 5000\r\n" % key,
        b"gat 7000 %s\r\n" % key,
        b"delete %s\r\n" % key,
        b"md %s q\r\n" % key,
        b"ms %s %d T0 F9\r\n%s\r\n" % ((key,) + size),
        b"ms %s 1 MA\r\nm\r\n" % key,
        b"ma %s N0 J5 q\r\n" % key,
        b"mg %s T800 v\r\n" % key,
    ])


def mixed_binary(rng, key, big):
    n = rng.randrange(1000)
    value = b"b%d" % n if not big else b"b%d" % n * 5000
    return rng.choice([
        binary.store("set", key, value, n),
        binary.store("setq", key, b"%d" % n, n),
        binary.store("addq", key, value, 5, 600),
        binary.store("replaceq", key, value),
        binary.request("appendq", key, b"a"),
        binary.request("prependq", key, b"p"),
        binary.count("incrq", key, n, n, 0),
        binary.count("decr", key, 3, 3, 900),
        binary.touch("touch", key, 6000),
        binary.touch("gatq", key, 8000),
        binary.request("deleteq", key),
    ])


def test_after_a_mixed_load_both_hold_the_same(pair, dialect):
    """Every write command of every dialect, quiet and not, by eight
    connections with keys of their own on two workers."""
    primary, backup = pair
    seed = random.randrange(1 << 30)
    print("seed", seed)
    rng = random.Random(seed)
    with replicated(primary, backup, workers=2,
                    service={"server_connections": 2,
                             "backend_proto": dialect}) as kv:
        keys = []
        clients = [kv.client() for _ in range(8)]
        for turn in range(12):
            for n, c in enumerate(clients):
                make = mixed_binary if n % 3 == 2 else mixed
                own = [b"c%dk%d" % (n, i) for i in range(8)]
                keys += own if turn == 0 else []
                ask(c, b"".join(make(rng, rng.choice(own),
                                     n == 3 and rng.random() < .2)
                                for _ in range(50)))
            for n, c in enumerate(clients):
                answered(c, n % 3 == 2)
        for c in clients:
            c.close()
        assert check_same(kv, primary, backup, keys) > 20
        stats = kv.stats()
        assert stats["copies"] == stats["copies_sent"] > 1000
        assert stats["copies_dropped"] == stats["copies_failed"] == 0


# Asynchronous


def values(load, server):
    return {k: int(v[1]) for k, v in held(server, load.keys).items()}


def test_copies_wait_for_a_backup_that_is_stopped_and_arrive_in_order(pair):
    """Three seconds, thirty times recv_timeout."""
    primary, backup = pair
    with replicated(primary, backup, workers=2,
                    core=core(recv_timeout=100, failover="none",
                              failover_threshold=1000000),
                    service={"server_connections": 2}) as kv, \
            kv.client() as c, kv.client() as order:
        with Load(kv, n=10, n_keys=4, pace=0.005) as load:
            wait_for(lambda: len(load.acked) == 40)
            backup.freeze()
            begin = time.monotonic()
            until = begin + 3
            turns = 0
            while time.monotonic() < until:
                # Each one undone by the next if their order is kept.
                order.ask(b"set o 0 0 1\r\n0\r\nincr o 5\r\nappend o 0 0 1\r\n"
                          b"x\r\ndelete o\r\nadd o 0 0 4\r\n%04d\r\n" % turns,
                          b"STORED\r\n5\r\nSTORED\r\nDELETED\r\nSTORED\r\n")
                turns += 1
                time.sleep(0.01)	# the load's pace
            assert "queue [0]" not in kv.status()
            lag = kv.stat("copies_lag_ms")
            # The oldest one's, not the sum of the workers'.
            assert 2500 < lag < 1000 * (time.monotonic() - begin) + 500
            backup.thaw()
        copied(kv)
        c.ask(b"get o\r\n", hit(b"o", b"%04d" % (turns - 1)))
        assert check_same(kv, primary, backup, load.keys + [b"o"]) == 41
        assert values(load, backup) == load.acked
        stats = kv.stats()
        assert "Size of async queue [0]" in kv.status()
        assert stats["copies"] == stats["copies_sent"]
        for name in ("dropped", "failed", "expired", "lost", "uncertain"):
            assert stats["copies_" + name] == 0, name
        assert turns > 30


@pytest.mark.parametrize("bound", ["async_size", "async_bytes"])
def test_E23_what_does_not_fit_is_dropped_and_counted(pair, bound):
    """The losses that are counted are the keys that are missing."""
    primary, backup = pair
    value = b"v" * (10 if bound == "async_size" else 50000)
    with Relay(backup) as link, \
            replicated(primary, link, core=core(
                **{bound: 20 if bound == "async_size" else 1})) as kv, \
            kv.client() as c:
        link.cut()
        wait_for(lambda: kv.backend(link, "connected") == 0)
        keys = [b"k%d" % i for i in range(100)]
        for k in keys:
            c.ask(b"set %s 0 0 %d\r\n%s\r\n" % (k, len(value), value),
                  b"STORED\r\n")
        stats = kv.stats()
        assert stats["copies_queued"] == 20
        assert "Size of async queue [20]\n" in kv.status()
        assert stats["copies_dropped"] == 80
        link.mend()
        copied(kv)
        there = held(backup, keys)
        assert sorted(there) == sorted(keys[:20])
        assert 100 - len(there) == kv.stat("copies_dropped")
        assert kv.stat("failed_requests") == 0


def test_async_size_0_copies_nothing(pair):
    primary, backup = pair
    with replicated(primary, backup, core=core(async_size=0)) as kv, \
            kv.client() as c:
        c.ask(b"set k 0 0 1\r\nx\r\n", b"STORED\r\n")
        assert kv.stat("copies_dropped") == 1
        assert held(backup, [b"k"]) == {}


def test_what_a_killed_worker_held_is_lost_and_counted(pair):
    primary, backup = pair
    with Relay(backup) as link, \
            replicated(primary, link, workers=2) as kv:
        link.cut()
        wait_for(lambda: kv.backend(link, "connected") == 0)
        clients = [kv.client() for _ in range(20)]
        keys = [b"k%d" % i for i in range(100)]
        for i, k in enumerate(keys):
            clients[i % 20].ask(b"set %s 0 0 1\r\nx\r\n" % k, b"STORED\r\n")
        for c in clients:
            c.close()
        slots = kv.slots()
        victim = max(slots, key=lambda s: slots[s]["copies_queued"])
        n = slots[victim]["copies_queued"]
        assert n > 0
        if kv.ctl is not None:
            kv.ctl.close()
            kv.ctl = None
        kv.lose_workers = True
        os.kill(slots[victim]["pid"], signal.SIGKILL)
        wait_for(lambda: len(kv.worker_pids()) == 2 and
                 slots[victim]["pid"] not in kv.worker_pids())
        wait_for(lambda: kv.stat("copies_lost") == n, what="%d lost" % n)
        assert kv.stat("copies_queued") == 100 - n
        link.mend()
        copied(kv)
        assert len(held(backup, keys)) == 100 - n
        assert kv.stat("copies_lost") == n


def test_copies_go_through_a_reconnect_and_counters_become_deletes():
    """The backup has received them and the connection dies before it says
    so: what may be done twice is, the others' keys are deleted."""
    silent = threading.Event()
    silent.set()

    def script(conn, r):
        if silent.is_set():
            fake.default(r)
            return b""

    with Memcached() as primary, FakeBackend(script=script) as fake, \
            replicated(primary, fake) as kv, kv.client() as c:
        c.ask(b"set s 0 0 1\r\n1\r\nset n 0 0 1\r\n1\r\nset a 0 0 1\r\n1\r\n"
              b"set d 0 0 1\r\n1\r\nset t 0 0 1\r\n1\r\n" + b"", b"STORED\r\n" * 5)
        c.ask(b"incr n 1\r\nappend a 0 0 1\r\nx\r\ndelete d\r\ntouch t 50\r\n",
              b"2\r\nSTORED\r\nDELETED\r\nTOUCHED\r\n")
        wait_for(lambda: len(fake.requests) == 9)
        silent.clear()
        fake.conns[0].close()
        stats = copied(kv)
        again = [(r.cmd, r.key) for r in fake.requests[9:]]
        assert again == [(b"ms", b"s"), (b"ms", b"n"), (b"ms", b"a"),
                         (b"ms", b"d"), (b"ms", b"t"), (b"md", b"n"),
                         (b"md", b"a"), (b"md", b"d"), (b"mg", b"t")] or \
            [k for _, k in again] == [b"s", b"n", b"a", b"d", b"t", b"n",
                                      b"a", b"d", b"t"], again
        assert [cmd for cmd, _ in again[5:8]] == [b"md"] * 3
        assert stats["copies_uncertain"] == 2
        assert stats["copies_sent"] == stats["copies"] == 9
        assert sorted(fake.store) == [b"s", b"t"]


def test_E24_copies_of_counters_are_never_sent_twice(pair):
    """A link that is cut and mended again and again under incr: the backup
    has the primary's number or none."""
    primary, backup = pair
    with Relay(backup) as link, replicated(primary, link) as kv, \
            kv.client() as c:
        keys = [b"n%d" % i for i in range(20)]
        for k in keys:
            c.ask(b"set %s 0 0 1\r\n0\r\n" % k, b"STORED\r\n")
        for turn in range(5):
            for i in range(10):
                c.send(b"".join(b"incr %s 1\r\n" % k for k in keys))
                if i == 4:
                    link.cut()
                for k in keys:
                    c.recv_line()
            link.mend()
            wait_for(lambda: kv.backend(link, "connected") == 1)
        stats = copied(kv)
        there = held(backup, keys)
        here = held(primary, keys)
        assert all(v[1] == b"50" for v in here.values())
        assert all(there[k] == here[k] for k in there)
        missing = len(keys) - len(there)
        assert stats["copies_uncertain"] >= missing
        assert stats["copies_dropped"] == stats["copies_failed"] == 0


def test_copies_are_given_up_after_async_timeout(pair):
    primary, backup = pair
    with Relay(backup) as link, \
            replicated(primary, link, core=core(async_timeout=0.5)) as kv, \
            kv.client() as c:
        link.cut()
        wait_for(lambda: kv.backend(link, "connected") == 0)
        for i in range(10):
            c.ask(b"set k%d 0 0 1\r\nx\r\n" % i, b"STORED\r\n")
        assert kv.stat("copies_queued") == 10
        wait_for(lambda: kv.stat("copies_expired") == 10, 0.5 + SLACK)
        assert kv.stat("copies_queued") == 0
        link.mend()
        kv.wait_connected(link)
        c.ask(b"set k 0 0 1\r\nx\r\n", b"STORED\r\n")
        copied(kv)
        assert sorted(held(backup, [b"k"] + [b"k%d" % i for i in range(10)])
                      ) == [b"k"]


def test_waiting_is_taken_off_the_time_to_live(pair):
    primary, backup = pair
    with Relay(backup) as link, replicated(primary, link) as kv, \
            kv.client() as c:
        link.cut()
        wait_for(lambda: kv.backend(link, "connected") == 0)
        begin = time.monotonic()
        c.ask(b"set long 0 1000 1\r\nx\r\nset short 0 1 1\r\nx\r\n"
              b"set ever 0 0 1\r\nx\r\n", b"STORED\r\n" * 3)
        wait_for(lambda: time.monotonic() > begin + 2.2)
        link.mend()
        copied(kv)
        with backup.client() as b:
            b.send(b"mg long t\r\nmg short t\r\nmg ever t\r\n")
            ttl = int(b.recv_line().split()[1][1:])
            assert 990 < ttl <= 998, ttl
            assert b.recv_line() == b"EN\r\n"
            assert b.recv_line() == b"HD t-1\r\n"


def test_waiting_is_taken_off_the_time_to_live_of_what_is_sent_again():
    """It was sent, and not answered, before the connection died."""
    with Memcached() as primary, FakeBackend() as fake, \
            replicated(primary, fake) as kv, kv.client() as c:
        fake.script = lambda conn, r: b""
        begin = time.monotonic()
        c.ask(b"set k 0 1000 1\r\nx\r\n", b"STORED\r\n")
        wait_for(lambda: time.monotonic() > begin + 2.2)
        fake.script = None
        fake.conns[0].close()
        copied(kv)
        first, again = [r.flags for r in fake.requests]
        assert b"T1000" in first
        assert not {b"T999", b"T1000"} & set(again), again


def test_a_stop_drains_the_queue(pair):
    """Within shutdown_timeout the backup comes back, and then all is there."""
    primary, backup = pair
    with Relay(backup) as link, \
            replicated(primary, link, workers=2,
                       core=core(shutdown_timeout=10)) as kv:
        link.cut()
        wait_for(lambda: kv.backend(link, "connected") == 0)
        keys = [b"k%d" % i for i in range(50)]
        with kv.client() as c1, kv.client() as c2:
            for i, k in enumerate(keys):
                (c1, c2)[i % 2].ask(b"set %s 0 0 1\r\nx\r\n" % k,
                                    b"STORED\r\n")
        assert kv.stat("copies_queued") == 50
        kv.ctl.close()
        kv.ctl = None
        os.kill(kv.pid, signal.SIGTERM)
        link.mend()
        kv.wait_end()
        assert len(held(backup, keys)) == 50


def test_a_stop_gives_up_what_is_queued_after_shutdown_timeout(pair):
    primary, backup = pair
    with Relay(backup) as link, \
            replicated(primary, link, core=core(shutdown_timeout=0.3)) as kv:
        link.cut()
        wait_for(lambda: kv.backend(link, "connected") == 0)
        with kv.client() as c:
            c.ask(b"set k 0 0 1\r\nx\r\n", b"STORED\r\n")
        kv.ctl.close()
        kv.ctl = None
        begin = time.monotonic()
        os.kill(kv.pid, signal.SIGTERM)
        kv.wait_end()
        assert time.monotonic() - begin < 0.3 + SLACK
        assert "1 copies for the backup are lost" in kv.logged()


def test_copies_that_found_the_connections_queue_full_go_out_later():
    """It was full of reads, so no copy's reply can be what wakes them."""
    gate = threading.Event()

    def script(conn, r):
        if r.is_read():
            gate.wait(20)

    with Memcached() as primary, FakeBackend(script=script) as fake, \
            replicated(primary, fake, service={
                "hosts_read": "backups", "server_queue": 4}) as kv, \
            kv.client() as c1, kv.client() as c2:
        c1.send(b"get a\r\n" * 4)
        wait_for(lambda: kv.backend(fake, "requests") == 4)
        c2.ask(b"set k 0 0 1\r\nx\r\n", b"STORED\r\n")
        assert kv.stat("copies_queued") == 1
        gate.set()
        c1.expect(b"END\r\n" * 4)
        copied(kv)
        assert fake.store == {b"k": b"x"}
        assert kv.stat("copies_sent") == 1


# flush_all


def test_flush_all_goes_once_to_each_distinct_host():
    with FakeBackend() as both, FakeBackend() as backup, \
            FakeBackend() as reader, \
            Kvproxy([both], backup=[backup], read=[both, reader],
                    core=CORE) as kv, kv.client() as c:
        kv.wait_connected(both, backup, reader)
        c.ask(b"flush_all\r\n", b"OK\r\n")
        for fake in (both, backup, reader):
            assert [r.cmd for r in fake.requests] == [b"flush_all"]
        backup.stop()
        wait_for(lambda: kv.backend(backup, "connected") == 0)
        c.send(b"flush_all\r\n")
        expect_failure(c, backup)


def test_flush_all_drops_older_copies_of_all_workers(pair):
    primary, backup = pair
    with Relay(backup) as link, \
            replicated(primary, link, workers=2) as kv:
        link.cut()
        wait_for(lambda: kv.backend(link, "connected") == 0)
        clients = [kv.client() for _ in range(20)]
        for i in range(100):
            clients[i % 20].ask(b"set k%d 0 0 1\r\nx\r\n" % i, b"STORED\r\n")
        assert all(s["copies_queued"] > 0 for s in kv.slots().values())
        clients[0].send(b"flush_all\r\n")
        expect_failure(clients[0], link)
        for i in range(100, 110):
            clients[i % 20].ask(b"set k%d 0 0 1\r\nx\r\n" % i, b"STORED\r\n")
        for c in clients:
            c.close()
        link.mend()
        stats = copied(kv)
        keys = [b"k%d" % i for i in range(110)]
        assert sorted(held(backup, keys)) == sorted(keys[100:])
        assert stats["copies_flushed"] == 100
        assert check_same(kv, primary, backup, keys) == 10


def test_a_write_and_a_flush_all_in_one_go_leave_nothing_at_the_backup(pair):
    """The copy is made when the primary has answered, behind the flush."""
    primary, backup = pair
    with replicated(primary, backup) as kv, kv.client() as c:
        for i in range(20):
            c.ask(b"set k%d 0 0 1\r\nx\r\nflush_all\r\nset l%d 0 0 1\r\n"
                  b"x\r\n" % (i, i), b"STORED\r\nOK\r\nSTORED\r\n")
        keys = [b"%s%d" % (k, i) for k in (b"k", b"l") for i in range(20)]
        assert check_same(kv, primary, backup, keys) == 1


# Writes of unknown outcome


def test_a_copy_older_than_a_refused_flush_all_is_a_delete():
    """The primary keeps the new value, so the backup must not keep the old
    one."""
    with Memcached("-F") as primary, Memcached("-F") as backup, \
            replicated(primary, backup) as kv, kv.client() as c:
        c.ask(b"set k 0 0 3\r\nold\r\n", b"STORED\r\n")
        copied(kv)
        c.ask(b"set k 0 0 3\r\nnew\r\nflush_all\r\n",
              b"STORED\r\nCLIENT_ERROR flush_all not allowed\r\n")
        stats = copied(kv)
        assert stats["copies_flushed"] == 1 and stats["copies_sent"] == 2
        assert list(held(primary, [b"k"])) == [b"k"]
        assert held(backup, [b"k"]) == {}


def test_an_increment_of_a_counter_that_the_backup_lacks_makes_none(effects):
    """Only one that makes the counter at the primary does."""
    kv, primary, backup = effects
    for request in (b"ma k N0 J1 D5\r\n",
                    binary.count("incr", b"k", 5, 1, 0)):
        prepare((primary, backup), None)
        primary.ask(b"set k 0 0 1\r\n7\r\n", b"STORED\r\n")
        with kv.client() as c:
            settle(c, request)
        copied(kv)
        assert held(primary, [b"k"])[b"k"][1] == b"12"
        assert held(backup, [b"k"]) == {}


def test_an_increment_that_comes_to_another_number_deletes(effects):
    """The primary has lost the counter, so it began anew."""
    kv, primary, backup = effects
    for request in (b"ma k N0 J7 D1\r\n", b"incr k 1\r\n"):
        prepare((primary, backup), b"100")
        primary.ask(b"set k 0 0 1\r\n6\r\n" if request[0:1] == b"i" else
                    b"delete k\r\n")
        before = kv.stats()
        with kv.client() as c:
            settle(c, request)
        stats = copied(kv)
        wait_for(lambda: held(backup, [b"k"]) == {})
        assert held(primary, [b"k"])[b"k"][1] == b"7"
        assert stats["copies_uncertain"] == before["copies_uncertain"] + 1


def test_sync_an_increment_that_comes_to_another_number_is_refused(pair):
    primary, backup = pair
    with replicated(primary, backup, service={"sync_str": '"+"'}) as kv, \
            kv.client() as c:
        primary.ask(b"set +k 0 0 1\r\n6\r\n", b"STORED\r\n")
        backup.ask(b"set +k 0 0 3\r\n100\r\n", b"STORED\r\n")
        c.send(b"incr +k 1\r\n")
        assert b"only the primary" in expect_failure(c, backup)
        wait_for(lambda: held(backup, [b"+k"]) == {})


def test_a_stop_waits_for_a_write_whose_client_has_gone(pair):
    """It is to be copied when it is answered."""
    primary, backup = pair
    with Relay(primary) as link, \
            replicated(link, backup, core=core(recv_timeout=5000,
                                               shutdown_timeout=10)) as kv:
        c = kv.client()
        c.ask(b"set k 0 0 3\r\nold\r\n", b"STORED\r\n")
        copied(kv)
        link.stall()
        c.send(b"set k 0 0 3\r\nnew\r\n")
        wait_for(lambda: kv.stat("cmd_set") == 2)
        c.reset()
        wait_for(lambda: kv.stat("curr_connections") == 1)
        os.kill(kv.pid, signal.SIGTERM)
        wait_for(lambda: "told to stop" in kv.logged())
        link.mend()
        kv.wait_end()
        assert held(backup, [b"k"])[b"k"][1] == b"new"


def test_a_write_of_unknown_outcome_deletes_at_the_backup():
    for how in ("dies", "lies"):
        def script(conn, r):
            if r.key == b"k":
                if how == "lies":
                    return b"NONSENSE\r\n"
                conn.close()
                return b""

        with FakeBackend(script=script) as fake, Memcached() as backup, \
                replicated(fake, backup) as kv, kv.client() as c:
            backup.ask(b"set k 0 0 3\r\nold\r\n", b"STORED\r\n")
            c.send(b"set k 0 0 3\r\nnew\r\n")
            expect_failure(c, fake)
            stats = copied(kv)
            assert held(backup, [b"k"]) == {}, how
            assert stats["copies_unknown"] == 1


def test_a_late_yes_is_copied_and_a_store_error_deletes():
    gate = threading.Event()

    def script(conn, r):
        if r.key == b"late":
            gate.wait(20)
        if r.key == b"lost":
            return b"SERVER_ERROR out of memory storing object\r\n"

    with FakeBackend(script=script) as fake, Memcached() as backup, \
            replicated(fake, backup, core=core(
                recv_timeout=200, failover_threshold=1000)) as kv, \
            kv.client() as c:
        backup.ask(b"set lost 0 0 3\r\nold\r\n", b"STORED\r\n")
        c.ask(b"set lost 0 0 3\r\nnew\r\n",
              b"SERVER_ERROR out of memory storing object\r\n")
        copied(kv)
        c.send(b"set late 0 0 3\r\nnew\r\n")
        expect_failure(c, fake)
        assert kv.stat("copies") == 1
        gate.set()
        wait_for(lambda: kv.stat("copies_sent") == 2)
        assert list(held(backup, [b"late", b"lost"])) == [b"late"]
        assert kv.stat("copies_unknown") == 0


# Synchronous


class Play:
    """A fake whose answers are given when the test says so."""

    def __init__(self):
        self.waiting = []
        self.fake = FakeBackend(script=self._script)

    def _script(self, conn, r):
        if not r.key.startswith(b"+"):
            return None
        r.answer = threading.Event()
        self.waiting.append(r)
        r.answer.wait(20)
        if r.how == "yes":
            return self.fake.default(r)
        if r.how == "no":
            return b"NS" + r._back() + b"\r\n"
        if r.how == "error":
            return b"SERVER_ERROR out of memory storing object\r\n"
        if r.how == "dies":
            conn.close()
        return b""

    def let(self, how):
        """Answer the next request so."""
        r = wait_for(lambda: self.waiting and self.waiting.pop(0))
        r.how = how
        r.answer.set()


@pytest.fixture
def plays():
    one, two = Play(), Play()
    with one.fake, two.fake:
        yield one, two


def sync(primary, backup, **kwargs):
    kwargs.setdefault("core", core(recv_timeout=1500,
                                   failover_threshold=1000))
    kwargs.setdefault("service", {"sync_str": '"+"'})
    return replicated(primary, backup, **kwargs)


def test_sync_the_client_is_answered_when_both_have_it(plays):
    one, two = plays
    with sync(one.fake, two.fake) as kv, kv.client() as c:
        c.send(b"set +k 0 0 1\r\nx\r\n")
        wait_for(lambda: one.waiting)
        kv.tick()
        assert two.waiting == [] and c.is_quiet()
        one.let("yes")
        wait_for(lambda: two.waiting)
        kv.tick()
        assert c.is_quiet()
        two.let("yes")
        c.expect(b"STORED\r\n")
        # Other keys do not wait.
        c.ask(b"set k 0 0 1\r\nx\r\n", b"STORED\r\n")
        assert two.fake.store[b"+k"] == b"x"


@pytest.mark.parametrize("how, answer", [
    ("no", b"NOT_STORED\r\n"),
    ("error", b"SERVER_ERROR out of memory storing object\r\n"),
])
def test_sync_the_primary_says_no(plays, how, answer):
    """There is nothing to wait for, but where the old value is gone."""
    one, two = plays
    with sync(one.fake, two.fake) as kv, kv.client() as c:
        c.send(b"set +k 0 0 1\r\nx\r\n")
        one.let(how)
        if how == "error":
            two.let("yes")
        c.expect(answer)
        copied(kv)
        assert len(two.fake.requests) == (how == "error")


@pytest.mark.parametrize("how", ["error", "dies", "silent"])
def test_sync_the_primary_fails(plays, how):
    one, two = plays
    with sync(one.fake, two.fake) as kv, kv.client() as c:
        begin = time.monotonic()
        c.send(b"set +k 0 0 1\r\nx\r\n")
        one.let(how)
        if how == "error":
            two.let("yes")
        if how == "dies":
            two.let("yes")	# a delete, for what was done is not known
        line = expect_failure(c)
        if how != "error":
            assert one.fake.name.encode() in line
        assert time.monotonic() - begin < 1.5 + SLACK
        assert c.is_quiet()
        if how == "silent":
            # When its connection is given up.
            wait_for(lambda: two.waiting)
            two.let("yes")
        if how != "error":
            assert [r.cmd for r in two.fake.requests] == [b"md"]


@pytest.mark.parametrize("how", ["error", "dies", "silent"])
def test_E21_sync_the_backup_fails_and_is_named(plays, how):
    """SERVER_ERROR within one recv_timeout for both, and the copy goes on
    where it can."""
    one, two = plays
    with sync(one.fake, two.fake) as kv, kv.client() as c:
        begin = time.monotonic()
        c.send(b"set +k 0 0 1\r\nx\r\n")
        one.let("yes")
        two.let(how)
        if how == "dies":
            two.let("error")	# it is sent again, and refused
        line = expect_failure(c, two.fake)
        assert b"only the primary" in line
        assert time.monotonic() - begin < 1.5 + SLACK
        assert kv.stat("fail_backup") == 1
        assert one.fake.store[b"+k"] == b"x"
        c.ask(b"version\r\n", kv.version())


def test_sync_both_have_one_recv_timeout_in_all(plays):
    one, two = plays
    with sync(one.fake, two.fake, core=core(recv_timeout=2000)) as kv, \
            kv.client() as c:
        begin = time.monotonic()
        c.send(b"set +k 0 0 1\r\nx\r\n")
        wait_for(lambda: time.monotonic() > begin + 1.5)
        one.let("yes")
        late = time.monotonic()
        two.let("silent")
        expect_failure(c, two.fake)
        assert time.monotonic() - late < 1.8	# else it would be 2
        assert time.monotonic() - begin >= 1.9


def test_sync_behind_a_younger_copy_the_deadline_is_ones_own(plays):
    """The other primary is faster, so its copy stands first in the queue."""
    slow, two = plays
    with FakeBackend() as fast, \
            Kvproxy([slow.fake, fast], backup=[two.fake],
                    core=core(recv_timeout=2000, failover_threshold=1000),
                    service={"sync_str": '"+"', "hash_tag": "{}"}) as kv, \
            kv.client() as c, kv.client() as younger:
        kv.wait_connected(slow.fake, fast, two.fake)
        keys = [b"+{%s}" % f.key(c) for f in (slow.fake, fast)]
        # What c has written to find them has been copied.
        copied(kv)
        begin = time.monotonic()
        c.send(b"set %s 0 0 1\r\nx\r\n" % keys[0])
        wait_for(lambda: time.monotonic() > begin + 1.5)
        younger.send(b"set %s 0 0 1\r\nx\r\n" % keys[1])
        wait_for(lambda: two.waiting)
        slow.let("yes")
        expect_failure(c, two.fake)
        assert 1.9 <= time.monotonic() - begin < 3
        assert younger.is_quiet()
        two.let("yes")
        younger.expect(b"STORED\r\n")
        two.let("yes")
        copied(kv)


def test_sync_a_copy_that_is_sent_again_in_time_is_a_yes(plays):
    one, two = plays
    with sync(one.fake, two.fake) as kv, kv.client() as c:
        c.send(b"set +k 0 0 1\r\nx\r\n")
        one.let("yes")
        two.let("dies")
        two.let("yes")
        c.expect(b"STORED\r\n")
        assert two.fake.store[b"+k"] == b"x"
        assert kv.stat("fail_backup") == 0


def expect_overtaken(kv, c, one, two):
    """C's write of +k is refused, long before its deadline, and the backup,
    which may have refused the flush_all, is told to delete what it has."""
    begin = time.monotonic()
    assert c.recv_line() == (
        b"SERVER_ERROR %s did not take the copy, only the primary has done "
        b"it\r\n" % two.fake.name.encode())
    assert time.monotonic() - begin < SLACK
    assert kv.stat("fail_backup") == 1
    assert kv.stat("copies_sent") == 0
    two.let("yes")
    stats = copied(kv)
    assert (stats["copies"], stats["copies_flushed"]) == (1, 1)
    assert (stats["copies_sent"], stats["copies_uncertain"]) == (1, 0)
    assert one.fake.store == {b"+k": b"new"}
    assert two.fake.store == {}


def expect_copied(kv, c, one, two):
    """The next one is a yes again."""
    c.send(b"set +k 0 0 4\r\nlast\r\n")
    one.let("yes")
    two.let("yes")
    c.expect(b"STORED\r\n")
    assert two.fake.store == {b"+k": b"last"}
    assert kv.stat("copies_sent") == 2


@pytest.mark.parametrize("by", ["another worker", "the same client"])
def test_sync_a_write_whose_copy_a_flush_all_overtakes_is_refused(plays, by):
    """The backup is flushed while the primary still has the write."""
    one, two = plays
    with sync(one.fake, two.fake, workers=2,
              core=core(recv_timeout=10000)) as kv, \
            kv.client_on_each() as clients:
        a, b = clients.values()
        two.fake.store[b"+k"] = b"old"
        a.send(b"set +k 0 0 3\r\nnew\r\n")
        wait_for(lambda: one.waiting)
        if by == "another worker":
            b.ask(b"flush_all\r\n", b"OK\r\n")
        else:
            a.send(b"flush_all\r\n")
            wait_for(lambda: two.fake.requests)
        assert a.is_quiet()
        one.let("yes")
        expect_overtaken(kv, a, one, two)
        if by == "the same client":
            a.expect(b"OK\r\n")
        assert [r.cmd for r in two.fake.requests] == [b"flush_all", b"md"]
        expect_copied(kv, a, one, two)


def test_sync_a_copy_that_is_sent_again_behind_a_flush_all_is_refused(plays):
    """The backup has been sent it, is flushed by another worker, and the
    connection dies before it says anything."""
    one, two = plays
    with sync(one.fake, two.fake, workers=2,
              core=core(recv_timeout=10000)) as kv, \
            kv.client_on_each() as clients:
        a, b = clients.values()
        two.fake.store[b"+k"] = b"old"
        a.send(b"set +k 0 0 3\r\nnew\r\n")
        one.let("yes")
        wait_for(lambda: two.waiting)
        b.ask(b"flush_all\r\n", b"OK\r\n")
        assert a.is_quiet()
        two.let("dies")
        expect_overtaken(kv, a, one, two)
        assert [r.cmd for r in two.fake.requests] == \
            [b"ms", b"flush_all", b"md"]
        expect_copied(kv, a, one, two)


def test_sync_a_client_that_leaves_disturbs_nothing(plays):
    one, two = plays
    with sync(one.fake, two.fake) as kv:
        c = kv.client()
        c.send(b"set +k 0 0 1\r\nx\r\n")
        one.let("yes")
        wait_for(lambda: two.waiting)
        c.reset()
        wait_for(lambda: kv.stat("curr_connections") == 1)
        two.let("yes")
        copied(kv)
        assert two.fake.store[b"+k"] == b"x"


def test_sync_answers_keep_their_order(plays):
    one, two = plays
    with sync(one.fake, two.fake) as kv, kv.client() as c:
        c.send(b"set +k 0 0 1\r\nx\r\nset a 0 0 1\r\nx\r\nget a\r\n"
               b"version\r\n")
        one.let("yes")
        wait_for(lambda: two.waiting)
        wait_for(lambda: len(one.fake.requests) == 3)
        kv.tick()
        assert c.is_quiet()
        two.let("yes")
        c.expect(b"STORED\r\nSTORED\r\n" + hit(b"a", b"x") + kv.version())


def test_sync_every_kind_of_yes_waits(pair):
    """Of all dialects, quiet ones too; with the backup gone none is a yes."""
    primary, backup = pair
    with Relay(backup) as link, \
            sync(primary, link, core=core(failover_threshold=1000)) as kv:
        def ask_all(want_both):
            for request in (
                    b"set +k 0 0 1\r\n1\r\n", b"incr +k 1\r\n",
                    b"append +k 0 0 1\r\n0\r\n", b"touch +k 100\r\n",
                    b"gat 100 +k\r\n", b"ms +k 1\r\n1\r\n", b"ma +k\r\n",
                    b"delete +k\r\n", b"add +k 0 0 1\r\n1\r\n"):
                c.send(request)
                line = c.recv_line()
                if line.startswith(b"VALUE"):
                    c.recv_until(b"END\r\n")
                assert line.startswith(FAIL) != want_both, (request, line)
                if want_both:
                    assert held(primary, [b"+k"]) == held(backup, [b"+k"])
            for request in (binary.store("set", b"+k", b"1"),
                            binary.count("incr", b"+k"),
                            binary.request("delete", b"+k")):
                b.send(request)
                assert (binary.recv(b).status == 0) == want_both

        with kv.client() as c, kv.client() as b:
            ask_all(True)
            link.cut()
            wait_for(lambda: kv.backend(link, "connected") == 0)
            ask_all(False)
            assert kv.stat("fail_backup") == 12
            # A quiet one says so too.
            b.send(binary.store("setq", b"+k", b"2"))
            assert binary.recv(b).status != 0
            link.mend()
            copied(kv)
            kv.wait_connected(link)
            assert held(primary, [b"+k"]) == held(backup, [b"+k"])
            ask_all(True)


def test_E21_sync_a_stopped_backup_costs_recv_timeout(pair):
    primary, backup = pair
    with sync(primary, backup, core=core(recv_timeout=300)) as kv, \
            kv.client() as c:
        c.ask(b"set +k 0 0 1\r\n1\r\n", b"STORED\r\n")
        backup.freeze()
        for i in range(3):
            begin = time.monotonic()
            c.send(b"set +k%d 0 0 1\r\n2\r\n" % i)
            expect_failure(c, backup)
            assert time.monotonic() - begin < 0.3 + SLACK
        assert kv.stat("copies_queued") == 3
        backup.thaw()
        copied(kv)
        assert sorted(held(backup, [b"+k%d" % i for i in range(3)])) == \
            [b"+k0", b"+k1", b"+k2"]


def test_sync_while_the_backup_stands_in_the_primary_is_named(pair):
    primary, backup = pair
    with sync(primary, backup, core=core(failover="backup")) as kv, \
            kv.client() as c:
        primary.kill()
        kv.wait_state(primary, "out", 0.3 + SLACK)
        c.send(b"set +k 0 0 1\r\nx\r\n")
        expect_failure(c, primary)
        # It is done, and read, nevertheless; other keys are a yes.
        c.ask(b"get +k\r\nset k 0 0 1\r\nx\r\n",
              hit(b"+k", b"x") + b"STORED\r\n")
        primary.start()
        kv.wait_state(primary, "up", 0.6 + SLACK)
        wait_for(lambda: kv.backend(primary, "connected") == 1)
        c.ask(b"set +k 0 0 1\r\ny\r\n", b"STORED\r\n")
        assert held(primary, [b"+k"]) == held(backup, [b"+k"])


def test_sync_what_was_answered_stored_is_on_both_though_the_link_is_cut(pair):
    """2,000 writes and more; each key is written once, so that it cannot hide
    behind a later one."""
    primary, backup = pair
    total = 2400
    with Relay(backup) as link, \
            sync(primary, link, workers=2,
                 core=core(recv_timeout=500),
                 service={"sync_str": '"+"', "server_connections": 2}) as kv:
        clients = [kv.client() for _ in range(12)]
        stored, said = [], 0
        keys = iter([b"+k%d" % i for i in range(total)])
        asked = {}
        cut = False
        at_the_cut = None
        for turn in range(total // 12):
            for c in clients:
                asked[c] = next(keys)
                c.send(b"set %s 0 0 1\r\nx\r\n" % asked[c])
            if turn == 80:
                link.cut()
                cut = True
            for c in clients:
                line = c.recv_line()
                said += 1
                if line == b"STORED\r\n":
                    stored.append(asked[c])
                else:
                    assert line.startswith(FAIL), line
                    assert link.name.encode() in line
            if turn == 80:
                at_the_cut = list(stored)
                assert len(held(backup, at_the_cut)) == len(at_the_cut)
            if turn == 120:
                link.mend()
                wait_for(lambda: kv.backend(link, "connected") == 4)
        for c in clients:
            c.close()
        assert cut and said == total
        assert total > len(stored) > 120 * 12
        for server in (primary, backup):
            assert len(held(server, stored)) == len(stored)
        copied(kv)
        for server in (primary, backup):
            assert len(held(server, stored)) == len(stored)
        # Those that were an error arrive too, for they were queued.
        assert len(held(backup, [b"+k%d" % i for i in range(total)])) == total


# The backup in other parts


def test_the_backup_stands_in_and_is_read_when_the_primary_is_out(pair):
    primary, backup = pair
    with replicated(primary, backup, core=core(failover="backup")) as kv, \
            kv.client() as c:
        c.ask(b"set k 0 0 1\r\nx\r\n", b"STORED\r\n")
        copied(kv)
        primary.kill()
        kv.wait_state(primary, "out", 0.3 + SLACK)
        c.ask(b"get k\r\n", hit(b"k", b"x"))
        backup.kill()
        kv.wait_state(backup, "out", 0.3 + SLACK)
        c.send(b"get k\r\n")
        expect_failure(c, primary)


def test_nothing_overtakes_copies_that_wait():
    """More copies than go to the backup at a time, and then their primary is
    out: a write and a read that go to the backup itself stand behind all."""
    n, gate = 1500, threading.Event()
    with Memcached() as primary, FakeBackend() as fake, \
            replicated(primary, fake, core=core(failover="backup",
                                                recv_timeout=10000)) as kv, \
            kv.client() as c:
        fake.script = lambda conn, r: gate.wait(20) and None
        for i in range(n):
            c.ask(b"set k 0 0 4\r\n%04d\r\n" % i, b"STORED\r\n")
        assert kv.stat("copies_queued") == n
        primary.kill()
        kv.wait_state(primary, "out", 0.3 + SLACK)
        c.send(b"get k\r\nset k 0 0 3\r\nnew\r\n")
        kv.tick()
        gate.set()
        c.expect(hit(b"k", b"%04d" % (n - 1)) + b"STORED\r\n")
        copied(kv)
        assert fake.store == {b"k": b"new"}
        assert [r.body for r in fake.requests if r.is_store()] == \
            [b"%04d" % i for i in range(n)] + [b"new"]


def test_one_that_writes_reads_its_copy_from_the_read_group(pair):
    """hosts_read is the backup: a read behind a write on one connection sees
    at least what was written before the copy's turn."""
    primary, backup = pair
    with Kvproxy([primary], backup=[backup], core=CORE,
                 service={"hosts_read": "backups"}) as kv, kv.client() as c:
        kv.wait_connected(primary, backup)
        for i in range(50):
            c.ask(b"set k 0 0 2\r\n%02d\r\n" % i, b"STORED\r\n")
            c.ask(b"get k\r\n", hit(b"k", b"%02d" % i))
        assert kv.backend(backup, "requests") == 100
