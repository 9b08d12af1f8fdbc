"""Clients that people use, unchanged, through kvproxy."""

import contextlib
import re
import subprocess

import pytest
from pymemcache.client.base import Client as Pymemcache
from pymemcache.exceptions import MemcacheClientError, MemcacheServerError

from harness import Kvproxy, Memcached

MIB = 1024 * 1024
ASCII_TESTS = ["version", "quit", "verbosity", "set", "set noreply", "get",
               "gets", "mget", "flush", "flush noreply", "add",
               "add noreply", "replace", "replace noreply", "cas",
               "cas noreply", "delete", "delete noreply", "incr",
               "incr noreply", "decr", "decr noreply", "append",
               "append noreply", "prepend", "prepend noreply", "stat"]
BINARY_TESTS = ["noop", "quit", "quitq", "set", "setq", "flush", "flushq",
                "add", "addq", "replace", "replaceq", "delete", "deleteq",
                "get", "getq", "getk", "getkq", "incr", "incrq", "decr",
                "decrq", "version", "append", "appendq", "prepend",
                "prependq", "stat"]
ALL_TESTS = {"ascii " + t for t in ASCII_TESTS} | \
    {"binary " + t for t in BINARY_TESTS}

CAPABLE = [("meta", 1), ("meta", 3), ("text", 3)]

# These end where they look at the CAS of what they have stored, which a
# server that is spoken to in the text protocol does not tell.
TEXT_BACKENDS_CANNOT = ["set", "setq", "flush", "flushq", "add", "replace",
                        "replaceq", "delete", "deleteq", "get", "getq",
                        "getk", "getkq", "incr", "decr", "append", "appendq",
                        "prepend", "prependq"]


@pytest.fixture(scope="module")
def servers():
    # -I: what the servers take is not what bounds a value here.
    with Memcached("-I", "4m") as m1, Memcached("-I", "4m") as m2:
        yield [m1, m2]


@pytest.fixture(scope="module", params=["meta", "text"])
def proxy(request, servers):
    with Kvproxy(servers, workers=2,
                 service={"backend_proto": request.param}) as kv:
        yield kv


@pytest.fixture
def client(proxy):
    c = Pymemcache(("127.0.0.1", proxy.port), timeout=20, connect_timeout=20,
                   default_noreply=False, no_delay=True)
    c.flush_all()
    yield c
    c.close()


def test_pymemcache_stores(client):
    assert client.get("k") is None
    assert client.set("k", b"v")
    assert client.get("k") == b"v"
    assert not client.add("k", b"other")
    assert client.add("k2", b"v2")
    assert client.replace("k", b"new")
    assert not client.replace("none", b"x")
    assert client.append("k", b"-end")
    assert client.prepend("k", b"begin-")
    assert client.get("k") == b"begin-new-end"
    assert not client.append("none", b"x")
    assert client.delete("k")
    assert not client.delete("k")
    assert client.get("k", default="gone") == "gone"


def test_pymemcache_reads_many(client):
    items = {"key%d" % i: b"value %d" % i for i in range(1000)}
    assert client.set_many(items) == []
    assert client.get_many(list(items) + ["none"]) == items
    found = client.gets_many(list(items))
    assert {k: v for k, (v, _) in found.items()} == items
    assert client.delete_many(list(items))
    assert client.get_many(list(items)) == {}


def test_pymemcache_cas(client):
    assert client.gets("k") == (None, None)
    client.set("k", b"1")
    value, cas = client.gets("k")
    assert value == b"1"
    assert client.cas("k", b"2", cas) is True
    assert client.cas("k", b"3", cas) is False
    assert client.get("k") == b"2"
    assert client.cas("none", b"3", cas) is None


def test_pymemcache_counts(client):
    assert client.incr("n", 1) is None
    client.set("n", b"40")
    assert client.incr("n", 2) == 42
    assert client.decr("n", 50) == 0
    client.set("n", b"18446744073709551615")
    assert client.incr("n", 1) == 0
    client.set("n", b"abc")
    with pytest.raises(MemcacheClientError, match="non-numeric"):
        client.incr("n", 1)


def test_pymemcache_touches(client):
    assert client.touch("k", 100) is False
    client.set("k", b"v", expire=1000)
    assert client.touch("k", 100) is True
    assert client.get("k") == b"v"
    assert client.touch("k", -1) is True
    assert client.get("k") is None


def test_pymemcache_without_replies(client):
    client.set("n", b"1", noreply=True)
    client.incr("n", 5, noreply=True)
    client.decr("n", 1, noreply=True)
    client.append("n", b"0", noreply=True)
    client.prepend("n", b"9", noreply=True)
    client.touch("n", 100, noreply=True)
    client.add("n", b"x", noreply=True)
    client.add("m", b"x", noreply=True)
    client.replace("m", b"y", noreply=True)
    assert client.get_many(["n", "m"]) == {"n": b"950", "m": b"y"}
    client.delete("n", noreply=True)
    assert client.get("n") is None
    client.flush_all(noreply=True)
    assert client.get("m") is None


def test_pymemcache_asks_for_numbers(client, proxy):
    before = client.stats()
    client.set("k", b"v")
    client.get("k")
    client.get("none")
    after = client.stats()

    def grew(name):
        return int(after[name]) - int(before[name])

    assert grew(b"cmd_get") == 2 and grew(b"cmd_set") == 1
    assert grew(b"get_hits") == 1 and grew(b"get_misses") == 1
    assert grew(b"bytes_read") > 0 and grew(b"bytes_written") > 0
    assert int(after[b"threads"]) == 2
    assert int(after[b"curr_connections"]) >= 1
    assert int(after[b"total_connections"]) >= 1
    assert int(after[b"uptime"]) >= 0 and int(after[b"time"]) > 1500000000
    assert int(after[b"pid"]) in [proxy.pid] + proxy.worker_pids()
    assert after[b"version"].count(b".") >= 2
    assert client.version().startswith(b"1.6.18 kvproxy-")


@pytest.mark.parametrize("size", [0, 1, 2047, 2048, 16383, 16384, 16385,
                                  65536, 262144, MIB - 1, MIB])
def test_pymemcache_stores_values_up_to_max_packet(client, size):
    value = bytes(i * 7 & 255 for i in range(1024)) * (size // 1024 + 1)
    value = value[:size]
    assert client.set("big", value)
    assert client.get("big") == value
    assert client.get_many(["big", "none"]) == {"big": value}


def test_pymemcache_is_told_that_a_value_is_too_large(client):
    client.set("big", b"old")
    with pytest.raises(MemcacheServerError, match="object too large"):
        client.set("big", b"x" * (MIB + 1))
    assert client.get("big") is None
    assert client.set("big", b"new")


# --- memccapable ---

class Capable:
    """A run of memccapable, which names every test with what became of it:
    "[pass]", or what it says that ought to be true.  It mostly waits for
    what must not come: several run side by side."""

    RESULT = re.compile(r"((?:ascii|binary) [a-z ]+?) *"
                        r"(?:\n\S+:\d+: (.*)|(\[\w+\]))")

    def __init__(self, port):
        self.proc = subprocess.Popen(
            ["memccapable", "-v", "-h", "127.0.0.1", "-p", str(port)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, universal_newlines=True)

    def wait(self):
        self.said, _ = self.proc.communicate(timeout=60)
        self.results = {name: wrong or result for name, wrong, result
                        in self.RESULT.findall(self.said)}
        return self

    def stop(self):
        if self.proc.poll() is None:
            self.proc.kill()
            self.proc.communicate()

    def failed(self):
        return {name: result for name, result in self.results.items()
                if result != "[pass]"}


@pytest.fixture(scope="module")
def capable():
    """What memccapable said, by the backends' dialect and number."""
    with contextlib.ExitStack() as stack:
        runs = {}
        for dialect, count in CAPABLE:
            backends = [stack.enter_context(Memcached())
                        for _ in range(count)]
            kv = stack.enter_context(Kvproxy(
                backends, workers=2, service={"backend_proto": dialect}))
            runs[dialect, count] = Capable(kv.port)
            stack.callback(runs[dialect, count].stop)
        yield {name: run.wait() for name, run in runs.items()}


@pytest.mark.parametrize("count", [1, 3])
def test_memccapable_passes_over_meta_backends(capable, count):
    run = capable["meta", count]
    assert set(run.results) == ALL_TESTS, run.said
    assert run.failed() == {}, run.said
    assert run.proc.returncode == 0


def test_memccapable_misses_over_text_backends_the_cas_of_stores(capable):
    run = capable["text", 3]
    assert set(run.results) == ALL_TESTS, run.said
    assert run.failed() == {"binary " + t:
                            "rsp->plain.message.header.response.cas"
                            for t in TEXT_BACKENDS_CANNOT}, run.said
