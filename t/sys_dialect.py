"""What servers are asked, in meta and in text, and what is made of it."""

import struct

import pytest

from harness import FakeBackend, Kvproxy, Memcached
from harness import binary

MIB = 1024 * 1024
LARGE = b"SERVER_ERROR object too large for cache\r\n"


def item(key, value):
    return b"VALUE %s 0 %d\r\n%s\r\n" % (key, len(value), value)


def hit(key, value):
    return item(key, value) + b"END\r\n"


def store(key, value, verb=b"set"):
    return b"%s %s 0 0 %d\r\n%s\r\n" % (verb, key, len(value), value)


@pytest.fixture(params=["meta", "text"])
def dialect(request):
    return request.param


# The greeting


def test_a_server_to_be_asked_in_text_is_not_greeted_in_meta():
    """It may hang up on what it does not know."""
    def greeting(line):
        if line != b"version":
            fake.conns[-1].close()
        return b"VERSION 1.4.15\r\n"

    with FakeBackend("text") as fake:
        fake.greeting = greeting
        with Kvproxy([fake], service={"backend_proto": "text"}) as kv, \
                kv.client() as c:
            c.ask(store(b"k", b"v") + b"get k\r\n",
                  b"STORED\r\n" + hit(b"k", b"v"))
            assert kv.backend(fake, "connects") == 1


@pytest.mark.parametrize("answer", [b"CLIENT_ERROR unknown\r\n",
                                    b"SERVER_ERROR what\r\n"])
def test_a_server_that_calls_mn_an_error_is_asked_in_text(answer):
    with FakeBackend("text") as fake:
        fake.greeting = lambda line: answer if line == b"mn" \
            else b"VERSION 1.6.18\r\n"
        with Kvproxy([fake]) as kv, kv.client() as c:
            c.ask(store(b"k", b"v") + b"get k\r\n",
                  b"STORED\r\n" + hit(b"k", b"v"))
            assert not any(r.meta for r in fake.requests)


# Stale items


def make_stale(direct, value):
    direct.ask(store(b"s", value), b"STORED\r\n")
    direct.ask(b"md s I T30\r\n", b"HD\r\n")


def settle(client):
    """Behind what was sent aside because of a reply, and because of that
    one's reply."""
    for _ in range(3):
        client.ask(b"get none\r\n", b"END\r\n")


@pytest.mark.parametrize("read", [b"get s\r\n", b"gat 30 s\r\n"])
def test_a_token_is_not_given_back_to_a_value_that_was_written_since(read):
    """The read wins it and the write behind it makes it void: what would
    give it back must not mark the new value as stale."""
    with Memcached() as m, Kvproxy([m]) as kv, kv.client() as c, \
            m.client() as direct:
        for _ in range(10):
            make_stale(direct, b"old")
            c.ask(read + store(b"s", b"fresh"),
                  hit(b"s", b"old") + b"STORED\r\n")
            settle(c)
            direct.ask(b"mg s v\r\n", b"VA 5\r\nfresh\r\n")


@pytest.mark.parametrize("requests, replies, left", [
    (b"touch s 1000\r\ntouch s 50\r\n", b"TOUCHED\r\n" * 2, b"HD t50"),
    (b"touch s 1000\r\n" + store(b"s", b"new"), b"TOUCHED\r\nSTORED\r\n",
     b"HD t-1"),
    (b"get s\r\ndelete s\r\n", hit(b"s", b"old") + b"DELETED\r\n", b"EN"),
    (b"gat 9 s\r\ndelete s\r\n", hit(b"s", b"old") + b"DELETED\r\n", b"EN"),
    (binary.request("get", b"s") + binary.request("delete", b"s"), None,
     b"EN"),
])
def test_E19_what_is_pipelined_behind_a_read_of_a_stale_item_is_done_after_it(
        requests, replies, left):
    with Memcached() as m, Kvproxy([m]) as kv, kv.client() as c, \
            m.client() as direct:
        for _ in range(10):
            make_stale(direct, b"old")
            c.send(requests)
            if replies is None:
                got = [binary.recv(c) for _ in range(2)]
                assert [r.status for r in got] == [0, 0]
                assert got[0].value == b"old"
            else:
                c.expect(replies)
            line = direct.ask_line(b"mg s t\r\n")
            assert line.startswith(left), line


@pytest.mark.parametrize("read", [b"get s\r\n", b"gets s\r\n"])
def test_a_stale_value_over_max_packet_gives_its_token_back(read):
    with Memcached("-I", "4m") as m, Kvproxy([m]) as kv, kv.client() as c, \
            m.client() as direct:
        value = b"x" * (2 * MIB)
        make_stale(direct, value)
        assert c.ask_line(read).startswith(b"SERVER_ERROR ")
        settle(c)
        line = direct.ask_line(b"mg s s\r\n")
        assert b"W" in line.split(), line


# Values that do not fit: flags, and lengths


def test_flags_of_more_than_32_bits_are_an_error_and_no_desync(dialect):
    """Some servers are built for 64."""
    def script(conn, req):
        if req.key == b"wide":
            return req.hit(b"value", flags=2 ** 32)
        if req.key == b"widest":
            return req.hit(b"value", flags=2 ** 64 - 1)

    with FakeBackend(dialect, script) as fake, Kvproxy([fake]) as kv, \
            kv.client() as c:
        fake.store[b"k"] = b"v"
        for request in (b"get wide\r\n", b"gets widest\r\n",
                        b"get k wide k\r\n"):
            c.send(request + b"get k\r\n")
            assert c.recv_line().startswith(b"SERVER_ERROR ")
            c.expect(hit(b"k", b"v"))
        host = kv.backend(fake)
        assert (host["desyncs"], host["connects"], host["failed"]) == \
            (0, 1, 0)


def packet(opcode, key, extras=b"", value=b""):
    """A request of the binary protocol."""
    return struct.pack(">BBHBBHLLQ", 0x80, opcode, len(key), len(extras), 0,
                       0, len(extras) + len(key) + len(value), 7, 0) + \
        extras + key + value


def ask_packet(client, data):
    """The status of the answer."""
    client.send(data)
    head = struct.unpack(">BBHBBHLLQ", client.recv_exactly(24))
    assert head[0] == 0x81 and head[7] == 7
    client.recv_exactly(head[6])
    return head[5]


TEXT_KEEP = [b"add", b"replace", b"append", b"prepend"]
META_KEEP = [b"ME", b"MR", b"MA", b"MP", b"C5"]
BINARY_KEEP = {0x02: bytes(8), 0x03: bytes(8), 0x0e: b"", 0x0f: b""}


@pytest.fixture(scope="module")
def memcached():
    with Memcached() as m:
        yield m


@pytest.fixture(scope="module", params=["meta", "text"])
def proxy(request, memcached):
    with Kvproxy([memcached], service={"backend_proto": request.param}) as kv:
        yield kv


@pytest.fixture
def client(proxy):
    """One that finds an old value at k."""
    with proxy.client() as c:
        c.ask(store(b"k", b"old"), b"STORED\r\n")
        yield c


OVER = b"x" * (MIB + 1)	# than max_packet
NEAR = b"x" * (MIB - 8)	# not that, but the limit of the server


def test_a_text_store_over_max_packet_drops_the_old_value_if_it_is_a_set(
        proxy, client):
    before = proxy.stat("too_large")
    stored, not_stored = proxy.stat("stored"), proxy.stat("not_stored")
    for verb in TEXT_KEEP:
        client.ask(store(b"k", OVER, verb), LARGE)
        client.ask(b"get k\r\n", hit(b"k", b"old"))
    client.send(b"gets k\r\n")
    unique = client.recv_until(b"END\r\n").split()[4]
    client.ask(b"cas k 0 0 %d %s\r\n%s\r\n" % (len(OVER), unique, OVER),
               LARGE)
    client.ask(b"get k\r\n", hit(b"k", b"old"))
    client.ask(store(b"k", OVER), LARGE)
    client.ask(b"get k\r\n", b"END\r\n")
    assert proxy.stat("too_large") == before + len(TEXT_KEEP) + 2
    # Their deletes are nobody's writes.
    assert proxy.stat("stored") == stored
    assert proxy.stat("not_stored") == not_stored


def test_a_meta_store_over_max_packet_drops_the_old_value_if_it_is_a_set(
        proxy, client):
    before = proxy.stat("too_large")
    for flag in META_KEEP:
        client.ask(b"ms k %d %s\r\n%s\r\n" % (len(OVER), flag, OVER), LARGE)
        client.ask(b"get k\r\n", hit(b"k", b"old"))
    client.ask(b"ms k %d\r\n%s\r\n" % (len(OVER), OVER), LARGE)
    client.ask(b"get k\r\n", b"END\r\n")
    assert proxy.stat("too_large") == before + len(META_KEEP) + 1


def test_a_binary_store_over_max_packet_drops_the_old_value_if_it_is_a_set(
        proxy, client):
    before = proxy.stat("too_large")
    with proxy.client() as binary:
        for opcode, extras in BINARY_KEEP.items():
            assert ask_packet(binary, packet(opcode, b"k", extras, OVER)) == 3
            client.ask(b"get k\r\n", hit(b"k", b"old"))
        assert ask_packet(binary, packet(0x01, b"k", bytes(8), OVER)) == 3
        client.ask(b"get k\r\n", b"END\r\n")
    assert proxy.stat("too_large") == before + len(BINARY_KEEP) + 1


def test_a_store_that_the_server_finds_too_large_does_as_the_server_does(
        proxy, client, memcached):
    """It is smaller than max_packet: over a server that is asked in meta, too,
    only a set costs the old value."""
    with memcached.client() as direct:
        for c in (direct, client):
            for verb in TEXT_KEEP:
                c.ask(store(b"k", NEAR, verb), LARGE)
                c.ask(b"get k\r\n", hit(b"k", b"old"))
            c.ask(store(b"k", NEAR), LARGE)
            c.ask(b"get k\r\n", b"END\r\n")
            c.ask(store(b"k", b"old"), b"STORED\r\n")
