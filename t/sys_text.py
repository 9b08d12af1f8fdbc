"""The text protocol, hostile and ordinary: exact bytes, however cut."""

import contextlib
import re

import pytest

from harness import Client, FakeBackend, Kvproxy, Memcached, wait_for

BAD = b"CLIENT_ERROR bad command line format\r\n"
CHUNK = b"CLIENT_ERROR bad data chunk\r\n"
DELTA = b"CLIENT_ERROR invalid numeric delta argument\r\n"
EXPTIME = b"CLIENT_ERROR invalid exptime argument\r\n"
NAN = b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"
USAGE = BAD[:-2] + b".  Usage: delete <key> [noreply]\r\n"
LARGE = b"SERVER_ERROR object too large for cache\r\n"
VERSION = b"<VERSION>\r\n"	# stands for the server's own
K250, K251 = b"k" * 250, b"k" * 251
KEYS = [b"k", b"a", b"b", b"n", b"t", b"z", b"foo", b"key", b"a\1b", b"a\rb",
        b"a\xe9b", K250]
MAX_BIND = 64	# requests up to this long are tried at every cut


class Row:
    """INPUT brings exactly REPLY; then the connection works, or CLOSES.
    SAME: memcached 1.6.18 gives the same bytes.  SETUP is sent to the
    backend itself before, GONE are keys that must not be there after."""

    def __init__(self, name, input, reply, closes=False, same=True,
                 setup=b"", gone=()):
        self.name, self.input, self.reply = name, input, reply
        self.closes, self.same = closes, same
        self.setup, self.gone = setup, gone


def item(key, value, flags=0):
    return b"VALUE %s %d %d\r\n%s\r\n" % (key, flags, len(value), value)


def store(key, value):
    return b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value)


def close(name, input, reply, same=False, **kwargs):
    """A row whose connection ends after its reply."""
    return Row(name, input, reply, closes=True, same=same, **kwargs)


def nasty(name, value):
    return Row(name, store(b"k", value) + b"get k\r\n",
               b"STORED\r\n" + item(b"k", value) + b"END\r\n")


ROWS = [
    Row("T1 bad flags", b"set k abc 0 9\r\nflush_all\r\n", BAD, same=False,
        gone=[b"k"]),
    Row("T2 long key", b"set " + K251 + b" 0 0 7\r\nversion\r\n", BAD,
        same=False),
    Row("T3 bad exptime", b"set k 0 abc 7\r\nversion\r\n", BAD, same=False,
        gone=[b"k"]),
    close("T4 length -1", b"set k 0 0 -1\r\nversion\r\n", BAD),
    close("T5 length 2^31-1", b"set k 0 0 2147483647\r\nversion\r\n", BAD),
    close("T5 length 2^32-1", b"set k 0 0 4294967295\r\nversion\r\n", BAD),
    close("T5 length 2^32", b"set k 0 0 4294967296\r\n\r\n", BAD,
          gone=[b"k"]),
    close("T5 length 2^64", b"set k 0 0 18446744073709551616\r\n\r\n", BAD,
          gone=[b"k"]),
    Row("T6 length 007", b"set k 0 0 007\r\nabcdefg\r\nget k\r\n",
        b"STORED\r\n" + item(b"k", b"abcdefg") + b"END\r\n"),
    close("T6 length +7", b"set k 0 0 +7\r\nabcdefg\r\n", BAD, gone=[b"k"]),
    close("T6 length 0x7", b"set k 0 0 0x7\r\nabcdefg\r\n", BAD,
          gone=[b"k"]),
    close("T6 length 7abc", b"set k 0 0 7abc\r\nabcdefg\r\n", BAD,
          gone=[b"k"]),
    close("T7 body too long", b"set k 0 0 2\r\nhello\r\n", CHUNK,
          gone=[b"k"]),
    Row("T8 LF ends a line", b"set k 0 0 2\nhi\r\nget k\n",
        b"STORED\r\n" + item(b"k", b"hi") + b"END\r\n"),
    close("T8 LF ends a body", b"set k 0 0 2\nhi\n\r\n", CHUNK, gone=[b"k"]),
    Row("T9 200 spaces", b"get" + b" " * 200 + b"key key\r\n",
        item(b"key", b"v") * 2 + b"END\r\n", setup=store(b"key", b"v")),
    Row("T10 get", b"get\r\n", b"ERROR\r\n"),
    Row("T10 get, space", b"get \r\n", b"ERROR\r\n"),
    Row("T10 gets", b"gets\r\n", b"ERROR\r\n"),
    Row("T10 incr", b"incr k\r\n", b"ERROR\r\n"),
    Row("T10 touch", b"touch k\r\n", b"ERROR\r\n"),
    Row("T10 gat", b"gat\r\n", b"ERROR\r\n"),
    Row("T11 gat 10", b"gat 10\r\n", b"END\r\n"),
    close("T12 3000 spaces", b" " * 3000, b"", same=True),
    close("T12 3000 a", b"a" * 3000, b"", same=True),
    close("T13 4095 spaces", b" " * 4095, b"", same=True),
    Row("T13 gets of 2000 keys", b"gets " + b"a " * 2000 + b"\r\n",
        b"END\r\n"),
    close("T13 a long get after 101 spaces",
          (b" " * 101 + b"gets foo").ljust(4095), b"", same=True),
    Row("T15 one long key", b"get a " + K251 + b" b\r\n", BAD,
        setup=store(b"a", b"1") + store(b"b", b"2")),
    close("T16 GET", b"GET / HTTP/1.0\r\n", b"", same=True),
    close("T16 PUT", b"PUT /k HTTP/1.1\r\n", b""),
    close("T16 DELETE", b"DELETE HTTP/1.1\r\n", b""),
    close("T16 HEAD", b"HEAD / HTTP/1.1\r\n", b""),
    close("T16 POST", b"POST / HTTP/1.1\r\n", b""),
    close("T16 nothing but HTTP/1.1", b"HTTP/1.1\r\n", b""),
    close("T17 quit", b"version\r\nquit\r\nversion\r\n", VERSION,
          same=True),
    close("T17 junk after quit", b"version\r\nquit\r\n\n", VERSION,
          same=True),
    Row("T19 a bad quiet set", b"set k abc 0 2 noreply\r\nhi\r\nversion\r\n",
        VERSION, same=False, gone=[b"k"]),
    nasty("T20 END in a value", b"a\r\nEND\r\nb"),
    nasty("T20 VALUE in a value", b"\r\nVALUE x 0 1\r\n"),
    nasty("T20 a command in a value", b"\r\nflush_all\r\n"),
    nasty("T20 NULs and lone CRs", b"\0\r\0\r\r\n\0"),
    nasty("T21 nothing", b""),
    Row("T23 NUL in a key", b"set a\0b 0 0 2\r\nhi\r\n", BAD, same=False,
        gone=[b"a"]),
    Row("T23 get of it", b"get a\0b\r\n", BAD, same=False,
        setup=store(b"a", b"1")),
    Row("T24 control byte in a key", store(b"a\1b", b"hi") + b"get a\1b\r\n",
        b"STORED\r\n" + item(b"a\1b", b"hi") + b"END\r\n"),
    Row("T24 CR in a key", store(b"a\rb", b"hi") + b"get a\rb\r\n",
        b"STORED\r\n" + item(b"a\rb", b"hi") + b"END\r\n"),
    Row("T24 8 bit key", store(b"a\xe9b", b"hi") + b"get a\xe9b\r\n",
        b"STORED\r\n" + item(b"a\xe9b", b"hi") + b"END\r\n"),
    Row("T25 a tab", b"get\tk\r\n", b"ERROR\r\n"),
    Row("T26 empty line", b"\r\n", b"ERROR\r\n"),
    Row("T26 single space", b" \r\n", b"ERROR\r\n"),
    Row("T27 key of 250", b"incr " + K250 + b" 1\r\n", b"2\r\n",
        setup=store(K250, b"1")),
    Row("T27 key of 251", b"incr " + K251 + b" 1\r\n", BAD),
    Row("T28 delete 0", b"delete k 0\r\n", b"DELETED\r\n",
        setup=store(b"k", b"1")),
    Row("T28 delete 0 quietly", b"delete k 0 noreply\r\nversion\r\n", VERSION,
        setup=store(b"k", b"1"), gone=[b"k"]),
    Row("T28 delete 10", b"delete k 10\r\n", USAGE),
    Row("T28 five words", b"delete a b c d e\r\n", b"ERROR\r\n"),
    Row("T29 flush_all invalid", b"flush_all invalid\r\n", EXPTIME),
    Row("T29 flush_all noreply", b"flush_all noreply\r\nversion\r\n",
        VERSION),
    Row("T29 flush_all 0 noreply", b"flush_all 0 noreply\r\nversion\r\n",
        VERSION),
    Row("T30 incr wraps", b"incr n 1\r\n", b"0\r\n",
        setup=store(b"n", b"18446744073709551615")),
    Row("T30 decr stops at 0", b"decr n 5\r\nget n\r\n",
        b"0\r\n" + item(b"n", b"0") + b"END\r\n", setup=store(b"n", b"3")),
    Row("T30 decr leaves the width", b"decr n 1\r\nget n\r\n",
        b"9\r\n" + item(b"n", b"9 ") + b"END\r\n", setup=store(b"n", b"10")),
    Row("T30 not a number", b"incr t 1\r\n", NAN, setup=store(b"t", b"a")),
    Row("T30 delta -1", b"incr n -1\r\n", DELTA, setup=store(b"n", b"1")),
    Row("T30 delta 2^64", b"incr n 18446744073709551616\r\n", DELTA,
        setup=store(b"n", b"1")),
    Row("T30 delta abc", b"decr n abc\r\n", DELTA, setup=store(b"n", b"1")),
    Row("T31 cas without unique", b"cas foo 0 0 6 \r\nbarva2\r\n",
        b"ERROR\r\nERROR\r\n"),
    Row("T32 version foo bar", b"version foo bar\r\n", VERSION),
    Row("T32 verbosity", b"verbosity\r\n", b"ERROR\r\n"),
    Row("T32 verbosity foo bar my", b"verbosity foo bar my\r\n",
        b"ERROR\r\n"),
    Row("T32 verbosity noreply", b"verbosity noreply\r\nversion\r\n",
        VERSION),
    Row("T32 verbosity 1", b"verbosity 1\r\n", b"OK\r\n"),
    Row("T32 verbosity 2^32", b"verbosity 4294967296\r\n", b"OK\r\n"),
    Row("T32 stats noreply", b"stats noreply\r\n", b"ERROR\r\n"),
    Row("T34 lru mode", b"lru mode\r\n", b"ERROR\r\n"),
    Row("T34 slabs automove", b"slabs automove invalid\r\n", b"ERROR\r\n",
        same=False),
    Row("T34 slabs reassign", b"slabs reassign\r\n", b"ERROR\r\n"),
    Row("T34 lru_crawler", b"lru_crawler\r\n", b"ERROR\r\n"),
    Row("watch", b"watch\r\n", b"ERROR\r\n", same=False),
    Row("shutdown", b"shutdown\r\n", b"ERROR: shutdown not enabled\r\n"),
    Row("flags 2^32-1", b"set k 4294967295 0 2\r\nhi\r\nget k\r\n",
        b"STORED\r\n" + item(b"k", b"hi", 4294967295) + b"END\r\n"),
    Row("flags 2^32", b"set k 4294967296 0 2\r\nhi\r\n", BAD, same=False,
        gone=[b"k"]),
    Row("flags -1", b"set k -1 0 2\r\nhi\r\n", BAD, same=False),
    Row("bget is a get", b"bget k none\r\n",
        item(b"k", b"v") + b"END\r\n", setup=store(b"k", b"v")),
    Row("0x80 at the start of a later line",
        b"version\r\n\x80\x01\0\x01\r\nversion\r\n",
        VERSION + b"ERROR\r\n" + VERSION, same=False),
    Row("the least exptime", b"set k 0 -9223372036854775808 2\r\nhi\r\n"
        b"touch none -9223372036854775808\r\n",
        b"STORED\r\nNOT_FOUND\r\n"),
    Row("an exptime below the least",
        b"set k 0 -9223372036854775809 2\r\nhi\r\n", BAD, same=False,
        gone=[b"k"]),
    Row("negative exptime", b"set k 0 -1 2\r\nhi\r\nget k\r\n",
        b"STORED\r\nEND\r\n"),
]


@pytest.fixture(scope="module")
def memcached():
    with Memcached() as m:
        yield m


@pytest.fixture(scope="module", params=["meta", "text"])
def proxy(request, memcached):
    with Kvproxy([memcached], service={"backend_proto": request.param}) as kv:
        yield kv


@pytest.fixture(scope="module")
def direct(memcached):
    with memcached.client() as c:
        yield c


def prepare(direct, row):
    """Bring the backend into the row's state, past the proxy."""
    for key in KEYS:
        direct.send(b"delete %s noreply\r\n" % key)
    direct.send(row.setup)
    for _ in range(row.setup.count(b"set ")):
        direct.expect(b"STORED\r\n")
    direct.ask(b"mn\r\n", b"MN\r\n")


def check(direct, client, row, version):
    """CLIENT has sent the row's input: what comes, and what is left."""
    reply = row.reply.replace(VERSION, version)
    if row.closes:
        assert client.eof() == reply
    else:
        client.ask(b"version\r\n", reply + version)
        client.ask(b"version\r\n", version)
    for key in row.gone:
        direct.ask(b"get %s\r\n" % key, b"END\r\n")


@pytest.mark.parametrize("row", [r for r in ROWS if r.same],
                         ids=lambda r: r.name)
def test_the_row_says_what_memcached_says(memcached, direct, row):
    prepare(direct, row)
    with memcached.client() as c:
        c.send(row.input)
        check(direct, c, row, b"VERSION 1.6.18\r\n")


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.name)
def test_T33_row_whole(proxy, direct, row):
    prepare(direct, row)
    with proxy.client() as c:
        c.send_to_closing(row.input)
        check(direct, c, row, proxy.version())


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.name)
def test_T33_row_byte_by_byte(proxy, direct, row):
    prepare(direct, row)
    with proxy.client() as c:
        for i in range(len(row.input)):
            if not c.send_to_closing(row.input[i:i + 1]):
                break
            proxy.tick()
        check(direct, c, row, proxy.version())


@pytest.mark.parametrize("row", [r for r in ROWS if len(r.input) <= MAX_BIND],
                         ids=lambda r: r.name)
def test_T33_row_at_every_cut(proxy, direct, row):
    for cut in range(1, len(row.input)):
        prepare(direct, row)
        with proxy.client() as c:
            c.send(row.input[:cut])
            proxy.tick()
            c.send_to_closing(row.input[cut:])
            check(direct, c, row, proxy.version())


def test_the_version_begins_with_memcacheds(proxy):
    assert re.fullmatch(rb"VERSION 1\.6\.18 kvproxy-\d+\.\d+\.\d+\r\n",
                        proxy.version())


def test_a_pipeline_of_rows_keeps_its_order(proxy, direct):
    """All rows that keep the connection, in one burst."""
    rows = [r for r in ROWS if not r.closes and not r.setup]
    for row in rows:
        prepare(direct, row)
    version = proxy.version()
    with proxy.client() as c:
        for i, row in enumerate(rows):
            c.send(row.input + store(b"mark", b"%d" % i) + b"get mark\r\n")
        for i, row in enumerate(rows):
            c.expect(row.reply.replace(VERSION, version) + b"STORED\r\n" +
                     item(b"mark", b"%d" % i) + b"END\r\n")
        assert c.is_quiet()


def test_T14_one_get_of_18725_keys(proxy):
    n = 18725
    keys = [b"key-%05d" % i for i in range(n)]
    with proxy.client() as c:
        for i in range(0, n, 1000):
            c.send(b"".join(b"set %s 0 0 9 noreply\r\n%s\r\n" % (k, k)
                            for k in keys[i:i + 1000]))
        c.ask(b"get none\r\n", b"END\r\n")
        line = b"get " + b" ".join(keys) + b"\r\n"
        assert len(line) > 187000
        c.send(line)
        c.expect(b"".join(item(k, k) for k in keys) + b"END\r\n")
        c.ask(b"get none\r\n", b"END\r\n")


def test_T22_sizes_up_to_the_limit_and_past_it(proxy):
    sizes = range(1024, 1024 * 1024 + 4096 + 1, 2048)
    refused = []
    with proxy.client() as c:
        for size in sizes:
            c.ask(store(b"k", b"old"), b"STORED\r\n")
            c.send(store(b"k", b"x" * size))
            line = c.recv_line()
            if line == LARGE:
                refused.append(size)
                c.ask(b"get k\r\n", b"END\r\n")
            else:
                assert line == b"STORED\r\n" and not refused, size
        c.ask(b"version\r\n", proxy.version())
    assert refused[0] > 1000 * 1024
    assert refused[-1] == sizes[-1]


def test_T27_incr_with_keys_of_every_length(proxy):
    with proxy.client() as c:
        for n in range(1, 251):
            key = b"i" * n
            c.ask(store(key, b"%d" % n), b"STORED\r\n")
            c.ask(b"incr %s 1\r\n" % key, b"%d\r\n" % (n + 1))


@pytest.mark.parametrize("dialect", ["meta", "text"])
def test_T6_the_length_is_written_anew(dialect):
    with FakeBackend(dialect) as fake, Kvproxy([fake]) as kv, \
            kv.client() as c:
        c.ask(b"set  k  0  0  0000000007 \r\nabcdefg\r\n", b"STORED\r\n")
        req = fake.requests[-1]
        assert req.body == b"abcdefg"
        assert req.words[2 if dialect == "meta" else 4] == b"7"


@pytest.mark.parametrize("dialect", ["meta", "text"])
def test_bad_stores_reach_no_backend(dialect):
    with FakeBackend(dialect) as fake, Kvproxy([fake]) as kv:
        rows = [r for r in ROWS if r.name.split()[0] in
                ("T1", "T2", "T3", "T4", "T5", "T7", "T19", "T23")]
        for row in rows:
            with kv.client() as c:
                c.send_to_closing(row.input)
                if row.closes:
                    c.eof()
                else:
                    c.ask(b"version\r\n", row.reply.replace(VERSION,
                          kv.version()) + kv.version())
        assert fake.requests == []
        assert kv.stat("bad_requests") == len(rows)


# T29, flush_all to many hosts


def test_T29_flush_all_answers_once_and_empties_every_host():
    with Memcached() as m1, Memcached() as m2, Memcached() as m3, \
            Kvproxy([m1, m2, m3]) as kv, kv.client() as c:
        for m in (m1, m2, m3):
            m.ask(store(b"k", b"v"), b"STORED\r\n")
        c.ask(b"flush_all\r\nversion\r\n", b"OK\r\n" + kv.version())
        for m in (m1, m2, m3):
            m.ask(b"get k\r\n", b"END\r\n")
        c.ask(b"flush_all 100\r\nversion\r\n", b"OK\r\n" + kv.version())


def test_T29_the_slowest_host_makes_flush_all_answer():
    def script(conn, req):
        if req.cmd == b"flush_all":
            conn.send(b"O")
            kv.tick()
            assert kv_client.is_quiet()
            return b"K\r\n"

    with Memcached() as m, FakeBackend(script=script) as fake, \
            Kvproxy([m, fake]) as kv, kv.client() as kv_client:
        kv_client.ask(b"flush_all\r\n", b"OK\r\n")
        assert [r.cmd for r in fake.requests] == [b"flush_all"]


def test_T29_the_worst_host_wins_and_is_named():
    with Memcached() as m, FakeBackend() as fake, \
            Kvproxy([m, fake]) as kv, kv.client() as c:
        fake.script = lambda conn, req: \
            b"CLIENT_ERROR flush_all not allowed\r\n"
        c.ask(b"flush_all\r\nversion\r\n",
              b"CLIENT_ERROR flush_all not allowed\r\n" + kv.version())
        assert not fake.conns[0].gone.is_set()
        fake.stop()
        wait_for(lambda: kv.backend(fake, "connected") == 0)
        line = c.ask_line(b"flush_all\r\n")
        assert line.startswith(b"SERVER_ERROR ")
        assert fake.name.encode() in line
        c.ask(b"version\r\n", kv.version())


def test_T29_of_70_hosts_the_one_that_fails_is_told():
    """By its name, or as one of the others behind the first ones."""
    with contextlib.ExitStack() as stack:
        fakes = [stack.enter_context(FakeBackend()) for _ in range(70)]
        kv = stack.enter_context(Kvproxy(fakes))
        c = stack.enter_context(kv.client())
        c.ask(b"flush_all\r\n", b"OK\r\n")
        for i, told in ((68, b"others"), (5, fakes[5].name.encode())):
            fakes[i].stop()
            wait_for(lambda: kv.backend(fakes[i], "connected") == 0)
            line = c.ask_line(b"flush_all\r\n")
            assert line.startswith(b"SERVER_ERROR ") and told in line
            assert fakes[63].name.encode() not in line
        c.ask(b"version\r\n", kv.version())


def test_T29_flush_all_can_be_forbidden():
    with FakeBackend() as fake, \
            Kvproxy([fake], core={"allow_flush": "off"}) as kv, \
            kv.client() as c:
        c.ask(b"flush_all\r\n", b"CLIENT_ERROR flush_all not allowed\r\n")
        c.ask(b"flush_all noreply\r\nversion\r\n", kv.version())
        assert fake.requests == []


# Ordinary conversations, held against a memcached that sees the same

CAS = re.compile(rb"^(VALUE \S+ \d+ \d+) (\d+)\r\n", re.M)

TALKS = {
    "set and get": [
        b"get k\r\n", store(b"k", b"v1"), b"get k\r\n", b"get k k none k\r\n",
        b"set k 77 0 3\r\nabc\r\n", b"get k\r\n", b"gets none\r\n"],
    "add and replace": [
        b"replace k 0 0 1\r\na\r\n", b"add k 1 0 1\r\nb\r\n",
        b"add k 2 0 1\r\nc\r\n", b"get k\r\n", b"replace k 3 0 1\r\nd\r\n",
        b"get k\r\n"],
    "append and prepend": [
        b"append k 0 0 1\r\na\r\n", b"prepend k 0 0 1\r\nb\r\n",
        b"set k 5 0 3\r\nmid\r\n", b"append k 9 0 4\r\n-end\r\n",
        b"prepend k 9 0 6\r\nbegin-\r\n", b"get k\r\n",
        b"append k 0 0 0\r\n\r\n", b"get k\r\n"],
    "cas": [
        b"cas k 0 0 1 1\r\na\r\n", store(b"k", b"v"), b"gets k\r\n",
        b"cas k 7 0 3 %(cas)s\r\nnew\r\n", b"get k\r\n",
        b"cas k 7 0 3 %(cas)s\r\nold\r\n", b"get k\r\n", b"gets k\r\n",
        b"delete k\r\n", b"cas k 7 0 3 %(cas)s\r\nold\r\n",
        b"cas k 0 0 1 18446744073709551615\r\na\r\n"],
    "gets of many": [
        store(b"k1", b"1"), store(b"k3", b"3"), b"gets k1 k2 k3\r\n"],
    "delete": [
        b"delete k\r\n", store(b"k", b"v"), b"delete k\r\n", b"get k\r\n",
        b"delete k\r\n"],
    "incr and decr": [
        b"incr n 1\r\n", b"decr n 1\r\n", store(b"n", b"10"),
        b"incr n 90\r\n", b"decr n 1\r\n", b"get n\r\n", b"incr n 0\r\n",
        b"decr n 1000\r\n", b"incr n 18446744073709551615\r\n",
        b"incr n 1\r\n", store(b"n", b"12x"), b"incr n 1\r\n",
        b"decr n 1\r\n", store(b"n", b""), b"incr n 1\r\n"],
    "touch": [
        b"touch k 100\r\n", store(b"k", b"v"), b"touch k 100\r\n",
        b"get k\r\n", b"touch k -1\r\n", b"get k\r\n", b"touch k x\r\n"],
    "gat and gats": [
        b"gat 100 k\r\n", b"gats 100 k\r\n", store(b"k", b"v"),
        b"set j 4 0 2\r\njj\r\n", b"gat 100 k\r\n", b"gats 100 k none j\r\n",
        b"gat 0 j k\r\n", b"gat x k\r\n", b"gat -1 k\r\n", b"get k\r\n"],
    "expiry": [
        b"set k 0 1000000000 1\r\na\r\n", b"get k\r\n",
        b"set k 0 2147483647 1\r\na\r\n", b"get k\r\n",
        b"set k 0 2592000 1\r\na\r\n", b"get k\r\n",
        b"set k 0 -100 1\r\na\r\n", b"get k\r\n"],
    "quiet ones": [
        b"set k 0 0 1 noreply\r\n1\r\n", b"get k\r\n",
        b"add k 0 0 1 noreply\r\n2\r\n", b"get k\r\n",
        b"replace k 0 0 1 noreply\r\n3\r\n", b"get k\r\n",
        b"append k 0 0 1 noreply\r\n4\r\n", b"get k\r\n",
        b"prepend k 0 0 1 noreply\r\n5\r\n", b"get k\r\n",
        b"incr k 1 noreply\r\n", b"get k\r\n", b"decr k 2 noreply\r\n",
        b"get k\r\n", b"touch k 0 noreply\r\n", b"gets k\r\n",
        b"cas k 0 0 1 %(cas)s noreply\r\n6\r\n", b"get k\r\n",
        b"cas k 0 0 1 1 noreply\r\n7\r\n", b"get k\r\n",
        b"delete k noreply\r\n", b"get k\r\n",
        b"delete k noreply\r\n", b"incr k 1 noreply\r\n",
        b"append k 0 0 1 noreply\r\n8\r\n", b"touch k 1 noreply\r\n"],
    "words in error": [
        b"set\r\n", b"set k\r\n", b"set k 0 0\r\n", b"add k 0\r\n",
        b"cas k 0 0\r\n", b"delete\r\n", b"incr k 1 2 3\r\n", b"touch\r\n",
        b"bogus\r\n", b"SET k 0 0 1\r\n", b"GETS k\r\n", b"gett k\r\n",
        b"get %s\r\n" % K251, b"gets %s\r\n" % K251,
        b"delete %s\r\n" % K251, b"touch %s 0\r\n" % K251,
        b"gat 0 %s\r\n" % K251, b"decr %s 1\r\n" % K251,
        b"verbosity foo\r\n", b"flush_all 0 1 2 3\r\n"],
    "spaces and line ends": [
        store(b"k", b"v"), b" get k\r\n", b"get  k\r\n", b"get k \r\n",
        b"get k\n", b"set  k  1  0  2 \r\nhi\r\n", b"get k\n\r\n",
        b"delete  k \r\n", b"touch k  0 \n"],
    "large values": [
        store(b"k", b"x" * 1000000), b"get k\r\n", b"gets k k\r\n",
        b"append k 0 0 5\r\n12345\r\n", b"get k\r\n",
        store(b"k", b"y" * 1048577), b"get k\r\n",
        b"add k 0 0 1048576\r\n" + b"z" * 1048576 + b"\r\n", b"get k\r\n"],
}


def talk(port, lines):
    """Hold the conversation; replies with CAS numbers named by their order
    of appearance, for two servers count differently."""
    seen, replies = [], []

    def name(match):
        if match.group(2) not in seen:
            seen.append(match.group(2))
        return b"%s cas%d\r\n" % (match.group(1), seen.index(match.group(2)))

    with Client(port) as c:
        for line in lines:
            if b"%(cas)s" in line:
                line = line.replace(b"%(cas)s", seen[-1])
            c.send(line + b"version\r\n")
            reply = b""
            while not re.search(rb"(^|\n)VERSION [^\n]*\n$", reply):
                reply += c.recv_line()
            reply = reply[:reply.rindex(b"VERSION ")]
            replies.append(CAS.sub(name, reply))
    return replies


@pytest.mark.parametrize("hosts", [1, 2])
@pytest.mark.parametrize("dialect", ["meta", "text"])
@pytest.mark.parametrize("name", TALKS)
def test_talks_as_memcached_does(talkers, name, dialect, hosts):
    reference, proxies = talkers
    kv = proxies[dialect, hosts]
    for port in (reference.port, kv.port):
        with Client(port) as c:
            c.send(b"".join(b"delete %s noreply\r\n" % k for k in
                            KEYS + [b"k1", b"k2", b"k3", b"j", b"none"]))
            c.ask(b"get none\r\n", b"END\r\n")
    assert talk(kv.port, TALKS[name]) == talk(reference.port, TALKS[name])


@pytest.fixture(scope="module")
def talkers():
    with Memcached() as reference, Memcached() as m1, Memcached() as m2, \
            Kvproxy([m1], service={"backend_proto": "meta"}) as meta1, \
            Kvproxy([m1], service={"backend_proto": "text"}) as text1, \
            Kvproxy([m1, m2]) as meta2, \
            Kvproxy([m1, m2], service={"backend_proto": "text"}) as text2:
        yield reference, {("meta", 1): meta1, ("text", 1): text1,
                          ("meta", 2): meta2, ("text", 2): text2}
