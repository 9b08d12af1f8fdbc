"""The binary protocol, hostile and ordinary: exact bytes, however cut; and
one key in all dialects."""

import random
import re
import threading
from base64 import b64encode
from struct import pack, unpack

import pytest

from harness import (ASAN, FakeBackend, Kvproxy, Memcached, free_port,
                     rss_bytes, wait_for)
from harness.rows import Row, Table, all_cuts

MIB = 1024 * 1024
NO_WAIT = 0xffffffff	# as expiration of a count: no initial value
OPAQUE = 0xdeadbeef	# B11, in every row

# Opcodes.  The quiet one of each is where Q says.
(GET, SET, ADD, REPLACE, DELETE, INCR, DECR, QUIT, FLUSH, GETQ, NOOP, VERSION,
 GETK, GETKQ, APPEND, PREPEND, STAT, SETQ, ADDQ, REPLACEQ, DELETEQ, INCRQ,
 DECRQ, QUITQ, FLUSHQ, APPENDQ, PREPENDQ, VERBOSITY, TOUCH, GAT,
 GATQ) = range(0x1f)
SASL_LIST, SASL_AUTH, SASL_STEP, GATK, GATKQ = range(0x20, 0x25)
Q = {SET: SETQ, ADD: ADDQ, REPLACE: REPLACEQ, APPEND: APPENDQ,
     PREPEND: PREPENDQ, DELETE: DELETEQ, INCR: INCRQ, DECR: DECRQ,
     GET: GETQ, GETK: GETKQ, GAT: GATQ, GATK: GATKQ, FLUSH: FLUSHQ}
NAMES = {op: name for name, op in list(globals().items())
         if isinstance(op, int) and op < 0x25 and name.isupper()}

TEXTS = {0x01: b"Not found", 0x02: b"Data exists for key.",
         0x03: b"Too large.", 0x04: b"Invalid arguments",
         0x05: b"Not stored.", 0x81: b"Unknown command",
         0x06: b"Non-numeric server-side value for incr or decr"}

CAS = b"<a CAS!>"	# a mark, see Table; its number is CAS_N
CAS_N = int.from_bytes(CAS, "big")
MARKS = {CAS: rb"(?!\0{8}).{8}"}


def req(op, key=b"", ext=b"", value=b"", cas=0, opaque=OPAQUE, magic=0x80,
        keylen=None, extlen=None, bodylen=None):
    """A request; the lengths may lie."""
    body = ext + key + value
    return pack(">BBHBBHIIQ", magic, op,
                len(key) if keylen is None else keylen,
                len(ext) if extlen is None else extlen, 0, 0,
                len(body) if bodylen is None else bodylen, opaque, cas) + body


def res(op, key=b"", ext=b"", value=b"", cas=0, opaque=OPAQUE, status=0):
    body = ext + key + value
    return pack(">BBHBBHIIQ", 0x81, op, len(key), len(ext), 0, status,
                len(body), opaque, cas) + body


def err(op, status, opaque=OPAQUE):
    return res(op, status=status, value=TEXTS[status], opaque=opaque)


def store(op, key=b"k", value=b"hi", flags=5, exptime=0, **kwargs):
    """A store of any kind."""
    ext = b"" if op in (APPEND, PREPEND, APPENDQ, PREPENDQ) else \
        pack(">II", flags, exptime)
    return req(op, key, ext, value, **kwargs)


def count(op, delta=1, initial=0, exptime=0, key=b"k", **kwargs):
    return req(op, key, pack(">QQI", delta, initial, exptime), **kwargs)


def touch(op, key=b"k", exptime=100, **kwargs):
    return req(op, key, pack(">I", exptime), **kwargs)


def number(op, n, cas=CAS_N):
    return res(op, value=pack(">Q", n), cas=cas)


def value(op, data=b"hi", key=b"", flags=5):
    """What a read brings."""
    return res(op, key, pack(">I", flags), data, cas=CAS_N)


def name(op):
    return NAMES[op].lower()


K = b"set k 5 0 2\r\nhi\r\n"	# what most rows find
N = b"set k 0 0 2\r\n10\r\n"
OLD = b"VALUE k 0 3\r\nold\r\n"
END = (req(NOOP, opaque=0xfeedface), res(NOOP, opaque=0xfeedface))


def no_cas(reply):
    """REPLY over a text backend, which tells no CAS of a store."""
    return reply.replace(CAS, bytes(8))


def hit(what, input, reply, **kwargs):
    return Row(what, input, reply, setup=K, **kwargs)


def close(what, input, reply, same=True, **kwargs):
    return Row(what, input, reply, closes=True, same=same, **kwargs)


def invalid(what, input, same=True, **kwargs):
    """Arguments that are wrong: said, and closed."""
    return close(what, input, err(input[1], 4), same, **kwargs)


def write(what, input, reply, setup=b"", left=b"hi", can=True, **kwargs):
    """A write, whose CAS is not known over text, or that CAN not be asked
    there."""
    if can:
        kwargs.setdefault("text", no_cas(reply))
    else:
        kwargs["refused"] = err(input[1], 4)
    return Row(what, input, reply, setup=setup, left={b"k": left}, **kwargs)


def quiet(request):
    return request[:1] + bytes([Q[request[1]]]) + request[2:]


def loud_and_quiet(op, request, reply, setup=b"", left=b"hi",
                   what="", **kwargs):
    """A write that works, and the same without a word."""
    what = name(op) + what
    return [write(what, request, reply, setup, left, **kwargs),
            write(what + "q", quiet(request), b"", setup, left, **kwargs)]


def refused(op, request, status, setup=b"", left=None, what="", **kwargs):
    """A write that does not work; its quiet form says so too."""
    what = "%s%%s%s: %#x" % (name(op), what, status)
    return [write(what % "", request, err(op, status), setup, left, **kwargs),
            write(what % "q", quiet(request), err(Q[op], status), setup, left,
                  **kwargs)]


def reads(op, input_of, back_key, **kwargs):
    """A read that returns a value: loud and quiet, hit and miss."""
    key = b"k" if back_key else b""
    miss = res(op, key, status=1, value=b"" if back_key else TEXTS[1])
    return [
        hit(name(op) + " hit", input_of(op), value(op, key=key), **kwargs),
        hit(name(op) + "q hit", input_of(Q[op]), value(Q[op], key=key),
            **kwargs),
        Row(name(op) + " miss", input_of(op), miss, **kwargs),
        Row(name(op) + "q miss", input_of(Q[op]), b"", **kwargs)]


HOSTILE = [
    close("B1 keylen over bodylen", req(GET, b"hello", bodylen=3),
          err(GET, 0x81)),
    close("B1 keylen and extlen over bodylen",
          req(SET, b"abc", bytes(8), bodylen=10), err(SET, 0x81)),
    close("B1 extlen over bodylen", req(GET, b"", bytes(8), bodylen=3),
          err(GET, 0x81)),
    close("B1 keylen 65535, no body", req(GET, keylen=65535, bodylen=0),
          err(GET, 0x81), same=False),
    close("B1 of an unknown opcode", req(0x99, b"hello", bodylen=3),
          err(0x99, 0x81)),
    close("B1 of a quiet one", req(ADDQ, b"abc", bytes(8), bodylen=10),
          err(ADDQ, 0x81)),
    invalid("B2 2^31", store(SET, bodylen=2 ** 31), same=False),
    invalid("B2 2^32-1", store(SET, bodylen=2 ** 32 - 1), same=False),
    invalid("B2 2^32-1 of a get", req(GET, b"k", bodylen=2 ** 32 - 1)),
    invalid("B2 2^31 of an append", req(APPEND, b"k", bodylen=2 ** 31),
            same=False),
    close("B2 2^32-1 of an unknown opcode",
          req(0x99, bodylen=2 ** 32 - 1), err(0x99, 0x81), same=False),
    invalid("B2 2^30+11", store(SET, bodylen=2 ** 30 + 11), same=False),
    invalid("B3", store(ADDQ, value=b"", bodylen=0xffffffe8), same=False),
    invalid("B4 extlen 255", req(GET, b"k", bytes(255))),
    invalid("B4 extlen 255 of a set", req(SET, b"k", bytes(255))),
    invalid("B5 251", req(GET, b"k" * 251)),
    invalid("B5 365", req(GET, b"k" * 365)),
    invalid("B5 65535", req(GET, b"k" * 65535), same=False),
    invalid("B5 251 of a set", store(SET, b"k" * 251)),
    invalid("B5 251 of a quiet set", store(SETQ, b"k" * 251)),
    invalid("B5 251 of a quiet get", req(GETQ, b"k" * 251)),
    invalid("B6 get, 4 extras", req(GET, b"k", bytes(4))),
    invalid("B6 get, value", req(GET, b"k", value=b"v")),
    invalid("B6 get, no key", req(GET)),
    invalid("B6 getkq, no key", req(GETKQ)),
    invalid("B6 set, no extras", req(SET, b"k", value=b"hi"),
            left={b"k": None}),
    invalid("B6 set, 4 extras", req(SET, b"k", bytes(4), b"hi")),
    invalid("B6 set, no key", req(SET, b"", bytes(8), b"hi")),
    invalid("B6 addq, 9 extras", req(ADDQ, b"k", bytes(9), b"hi")),
    invalid("B6 append, 8 extras", req(APPEND, b"k", bytes(8), b"hi")),
    invalid("B6 prepend, no key", req(PREPEND, value=b"hi")),
    invalid("B6 delete, 4 extras", req(DELETE, b"k", bytes(4)), setup=K,
            left={b"k": b"hi"}),
    invalid("B6 delete, value", req(DELETE, b"k", value=b"v")),
    invalid("B6 delete, no key", req(DELETE)),
    invalid("B6 incr, 8 extras", req(INCR, b"k", bytes(8)), setup=N,
            left={b"k": b"10"}),
    invalid("B6 incr, value", req(INCR, b"k", bytes(20), b"v")),
    invalid("B6 decr, no key", req(DECR, b"", bytes(20))),
    invalid("B6 touch, no extras", req(TOUCH, b"k")),
    invalid("B6 touch, no key", touch(TOUCH, b"")),
    invalid("B6 gat, 8 extras", req(GAT, b"k", bytes(8))),
    invalid("B6 noop, body", req(NOOP, value=b"hello")),
    invalid("B6 noop, key", req(NOOP, b"k")),
    invalid("B6 version, key", req(VERSION, b"k")),
    invalid("B6 quit, key", req(QUIT, b"k")),
    invalid("B6 quitq, extras", req(QUITQ, b"", b"hi")),
    invalid("B6 flush, key", req(FLUSH, b"k"), setup=K, left={b"k": b"hi"}),
    invalid("B6 flush, 8 extras", req(FLUSH, b"", bytes(8))),
    invalid("B6 verbosity, no extras", req(VERBOSITY), same=False),
    invalid("B6 verbosity, key", req(VERBOSITY, b"k", bytes(4)), same=False),
    invalid("B6 stat, extras", req(STAT, b"", bytes(4))),
    Row("B7 opcode 0x1f", req(0x1f), err(0x1f, 0x81)),
    Row("B7 opcode 0x25", req(0x25), err(0x25, 0x81)),
    Row("B7 opcode 0xff", req(0xff), err(0xff, 0x81)),
    Row("B7 opcode 0x99, body", req(0x99, value=b"hello"), err(0x99, 0x81)),
    Row("B7 opcode 0x99, a request for a body",
        req(0x99, value=store(SET)), err(0x99, 0x81), left={b"k": None}),
    Row("B7 opcode 0x99, key", req(0x99, b"k", b"ext", b"v"),
        err(0x99, 0x81), same=False),
    close("B8 24 zero bytes", req(NOOP) + bytes(24), res(NOOP)),
    close("B8 magic 0x81", req(NOOP) + req(NOOP, magic=0x81), res(NOOP)),
    close("B9 text after binary", req(NOOP) + b"version\r\n" * 3, res(NOOP)),
    hit("B10 quiet ones keep their place",
        req(GETQ, b"k", opaque=1) + store(ADDQ, opaque=2) +
        req(GETKQ, b"no", opaque=3) + req(DELETEQ, b"no", opaque=4) +
        store(SETQ, value=b"v", opaque=5) + req(GETKQ, b"k", opaque=6) +
        store(APPENDQ, b"no", opaque=7) + store(REPLACEQ, opaque=8) +
        req(GETQ, b"no", opaque=9) + count(INCRQ, opaque=10) +
        req(DELETEQ, b"k", opaque=11) + req(NOOP, opaque=12),
        res(GETQ, b"", pack(">I", 5), b"hi", CAS_N, 1) + err(ADDQ, 2, 2) +
        err(DELETEQ, 1, 4) +
        res(GETKQ, b"k", pack(">I", 5), b"v", CAS_N, 6) +
        err(APPENDQ, 5, 7) + err(INCRQ, 6, 10) + res(NOOP, opaque=12),
        left={b"k": None}),
    Row("B11 opaque 0", req(GET, b"k", opaque=0),
        err(GET, 1, opaque=0)),
    Row("B11 opaque 2^32-1", req(NOOP, opaque=2 ** 32 - 1),
        res(NOOP, opaque=2 ** 32 - 1)),
    Row("B14 sasl list", req(SASL_LIST), err(SASL_LIST, 0x81)),
    Row("B14 sasl list, body", req(SASL_LIST, value=b"hello"),
        err(SASL_LIST, 0x81), same=False),
    Row("B14 sasl auth", req(SASL_AUTH, b"PLAIN", value=b"\0user\0pass"),
        err(SASL_AUTH, 0x81)),
    Row("B14 sasl auth, no key", req(SASL_AUTH, value=b"hello"),
        err(SASL_AUTH, 0x81), same=False),
    Row("B14 sasl step first", req(SASL_STEP, b"PLAIN", value=b"x"),
        err(SASL_STEP, 0x81)),
    Row("B14 sasl auth and a larger step",
        req(SASL_AUTH, b"PLAIN", value=b"x") +
        req(SASL_STEP, b"PLAIN", value=b"x" * 5000),
        err(SASL_AUTH, 0x81) + err(SASL_STEP, 0x81)),
    close("B15 quit", req(QUIT) + req(NOOP), res(QUIT)),
    close("B15 quitq", req(QUITQ) + req(NOOP), b""),
    close("B15 quit behind a get", req(GET, b"k") + req(QUIT),
          err(GET, 1) + res(QUIT)),
    Row("B19 stat unknown", req(STAT, b"nonsense"), err(STAT, 1)),
]

READS = [
    *reads(GET, lambda op: req(op, b"k"), False),
    *reads(GETK, lambda op: req(op, b"k"), True),
    *reads(GAT, touch, False), *reads(GATK, touch, True),
    hit("touch hit", touch(TOUCH), res(TOUCH, ext=pack(">I", 5), cas=CAS_N)),
    Row("touch miss", touch(TOUCH), err(TOUCH, 1)),
    hit("touch to a day of 1970", touch(TOUCH, exptime=2592001) +
        req(GET, b"k"), res(TOUCH, ext=pack(">I", 5), cas=CAS_N) +
        err(GET, 1)),
    Row("get of nothing", req(GET, b"k"), value(GET, b"", flags=0),
        setup=b"set k 0 0 0\r\n\r\n"),
    hit("get, CAS is ignored", req(GET, b"k", cas=7), value(GET)),
    Row("get of a whole item", req(GETK, b"k" * 250),
        value(GETK, b"\r\nEND\r\n\0", b"k" * 250, 2 ** 32 - 1),
        setup=b"set " + b"k" * 250 + b" 4294967295 0 8\r\n\r\nEND\r\n\0\r\n"),
]

WRITES = [
    *loud_and_quiet(SET, store(SET), res(SET, cas=CAS_N)),
    *loud_and_quiet(SET, store(SET), res(SET, cas=CAS_N), N, what=" over"),
    *loud_and_quiet(SET, store(SET, cas=CAS_N), res(SET, cas=CAS_N), N,
                    what=" CAS"),
    *refused(SET, store(SET, cas=1), 2, N, b"10", " CAS"),
    *refused(SET, store(SET, cas=1), 1, what=" CAS"),
    *loud_and_quiet(ADD, store(ADD), res(ADD, cas=CAS_N)),
    *refused(ADD, store(ADD), 2, N, b"10"),
    *refused(ADD, store(ADD, cas=1), 2, N, b"10", " CAS"),
    *refused(ADD, store(ADD, cas=1), 1, what=" CAS"),
    *loud_and_quiet(ADD, store(ADD, cas=CAS_N), res(ADD, cas=CAS_N), N,
                    what=" CAS"),
    *loud_and_quiet(REPLACE, store(REPLACE), res(REPLACE, cas=CAS_N), N),
    *refused(REPLACE, store(REPLACE), 1),
    *refused(REPLACE, store(REPLACE, cas=1), 2, N, b"10", " CAS"),
    *loud_and_quiet(APPEND, store(APPEND), res(APPEND, cas=CAS_N), N,
                    b"10hi"),
    *refused(APPEND, store(APPEND), 5),
    *refused(APPEND, store(APPEND, cas=1), 2, N, b"10", " CAS", can=False),
    *loud_and_quiet(PREPEND, store(PREPEND), res(PREPEND, cas=CAS_N), N,
                    b"hi10"),
    *refused(PREPEND, store(PREPEND), 5),
    *loud_and_quiet(DELETE, req(DELETE, b"k"), res(DELETE), K, None),
    *refused(DELETE, req(DELETE, b"k"), 1),
    *refused(DELETE, req(DELETE, b"k", cas=1), 2, K, b"hi", " CAS",
             can=False),
    *loud_and_quiet(DELETE, req(DELETE, b"k", cas=CAS_N), res(DELETE), K,
                    None, " CAS", can=False),
    *loud_and_quiet(INCR, count(INCR, 5, 7), number(INCR, 15), N, b"15"),
    *loud_and_quiet(DECR, count(DECR, 5, 7), number(DECR, 5), N, b"5 "),
    *loud_and_quiet(DECR, count(DECR, 11), number(DECR, 0), N, b"0 ",
                    " to 0"),
    *loud_and_quiet(INCR, count(INCR, 5, 7), number(INCR, 7), left=b"7",
                    what=" initial"),
    *loud_and_quiet(DECR, count(DECR, 5, 7, 100), number(DECR, 7),
                    left=b"7", what=" initial"),
    *loud_and_quiet(INCR, count(INCR, 2 ** 64 - 1, 0, NO_WAIT),
                    number(INCR, 9), N, b"9 ", " wraps"),
    write("incr initial 2^64-1", count(INCR, 5, 2 ** 64 - 1),
          number(INCR, 2 ** 64 - 1), left=b"18446744073709551615"),
    *refused(INCR, count(INCR, 5, 7, NO_WAIT), 1),
    *refused(DECR, count(DECR, 5, 7, NO_WAIT), 1),
    *refused(INCR, count(INCR), 6, K, b"hi"),
    *refused(DECR, count(DECR), 6, K, b"hi"),
    *refused(INCR, count(INCR, cas=1), 2, N, b"10", " CAS", can=False),
    *loud_and_quiet(INCR, count(INCR, cas=CAS_N), number(INCR, 11), N,
                    b"11", " CAS", can=False),
    *loud_and_quiet(FLUSH, req(FLUSH), res(FLUSH), K, None),
    *loud_and_quiet(FLUSH, req(FLUSH, ext=bytes(4)), res(FLUSH), K, None,
                    " 0"),
    write("a value of requests", store(SET, value=req(QUITQ) + bytes(2)),
          res(SET, cas=CAS_N), left=req(QUITQ) + bytes(2)),
    write("set of nothing", store(SET, value=b""), res(SET, cas=CAS_N),
          left=b""),
    write("flags", store(SET, flags=2 ** 32 - 1) + req(GET, b"k"),
          res(SET, cas=CAS_N) + value(GET, flags=2 ** 32 - 1),
          text=no_cas(res(SET, cas=CAS_N)) +
          value(GET, flags=2 ** 32 - 1)),
    write("an expiration of 2^32-1 is far away",
          store(SET, exptime=2 ** 32 - 1) + req(GET, b"k"),
          res(SET, cas=CAS_N) + value(GET),
          text=no_cas(res(SET, cas=CAS_N)) + value(GET)),
    write("add and the CAS goes on",
          store(ADD) + store(ADD) + store(REPLACE, value=b"ho"),
          res(ADD, cas=CAS_N) + err(ADD, 2) + res(REPLACE, cas=CAS_N),
          left=b"ho"),
]

REST = [
    Row("noop", req(NOOP), res(NOOP)),
    Row("noop, CAS", req(NOOP, cas=7), res(NOOP)),
    Row("verbosity", req(VERBOSITY, ext=pack(">I", 1)), res(VERBOSITY),
        same=False),
    Row("a key that needs base64",
        store(SET, b"a b\0\n") + req(GETK, b"a b\0\n") +
        req(DELETE, b"a b\0\n"),
        res(SET, cas=CAS_N) + value(GETK, key=b"a b\0\n") + res(DELETE),
        text=err(SET, 4) + err(GETK, 4) + err(DELETE, 4)),
    Row("a number under such a key",
        count(INCR, key=b"a b", initial=7) * 2 + req(GETQ, b"a b"),
        number(INCR, 7) + number(INCR, 8) + value(GETQ, b"8", flags=0),
        text=err(INCR, 4) * 2 + err(GETQ, 4)),
    Row("all stores under such a key",
        store(SETQ, b"a b") + store(APPENDQ, b"a b") +
        store(PREPENDQ, b"a b") + touch(GATK, b"a b") + store(ADDQ, b"a b") +
        store(REPLACE, b"a b", cas=1),
        value(GATK, b"hihihi", b"a b") + err(ADDQ, 2) + err(REPLACE, 2),
        text=b"".join(err(op, 4) for op in (SETQ, APPENDQ, PREPENDQ, GATK,
                                            ADDQ, REPLACE))),
    Row("datatype is ignored", req(NOOP)[:5] + b"\7" + req(NOOP)[6:],
        res(NOOP)),
    write("a number that is old at once",
          count(INCR, initial=7, exptime=2592001) + req(GET, b"k"),
          number(INCR, 7) + err(GET, 1), left=None),
    Row("the longest key that needs base64",
        store(SETQ, b" " * 186) + req(GETQ, b" " * 186), value(GETQ),
        text=err(SETQ, 4) + err(GETQ, 4)),
    Row("a key too long for base64",
        store(SET, b" " * 187) + req(GET, b"\n" * 250) +
        count(INCR, key=b"k" * 186 + b"\0"),
        err(SET, 4) + err(GET, 4) + err(INCR, 4), same=False),
    Row("all other bytes",
        store(SETQ, b"\1\r\t\x7f\x80\xff") + req(GETK, b"\1\r\t\x7f\x80\xff"),
        value(GETK, key=b"\1\r\t\x7f\x80\xff")),
]

ROWS = HOSTILE + READS + WRITES + REST
TABLE = Table(ROWS, *END, MARKS, CAS, lambda cas: pack(">Q", cas))


@pytest.fixture(scope="module")
def memcached():
    with Memcached() as m:
        yield m


@pytest.fixture(scope="module", params=["meta", "text"])
def proxy(request, memcached):
    with Kvproxy([memcached], service={"backend_proto": request.param}) as kv:
        kv.dialect = request.param
        yield kv


@pytest.fixture
def direct(memcached):
    with memcached.client() as c:
        yield c


def read_one(client):
    """One reply: (opcode, status, opaque, key, value)."""
    head = client.recv_exactly(24)
    magic, op, keylen, extlen, dtype, status, bodylen, opaque, _ = \
        unpack(">BBHBBHIIQ", head)
    assert magic == 0x81 and dtype == 0, head
    assert keylen + extlen <= bodylen < 2 * MIB, head
    body = client.recv_exactly(bodylen)[extlen:]
    return op, status, opaque, body[:keylen], body[keylen:]


@pytest.mark.parametrize("row", [r for r in ROWS if r.same], ids=repr)
def test_the_row_says_what_memcached_says(memcached, direct, row):
    TABLE.check_row(direct, memcached.client, row)


@pytest.mark.parametrize("row", ROWS, ids=repr)
def test_row_whole(proxy, direct, row):
    TABLE.check_row(direct, proxy.client, row, proxy.dialect)


@pytest.mark.parametrize("row", ROWS, ids=repr)
def test_row_in_pieces(proxy, direct, row):
    TABLE.check_row(direct, proxy.client, row, proxy.dialect,
                    all_cuts(len(row.input)), proxy.tick)


def test_a_pipeline_of_rows_keeps_its_order(proxy, direct):
    """All rows that keep the connection and need nothing, in one burst."""
    want = b""
    direct.ask(b"flush_all\r\n", b"OK\r\n")
    with proxy.client() as c:
        for i, row in enumerate(ROWS):
            reply, _ = row.after(proxy.dialect)
            if row.closes or row.setup or CAS in row.input:
                continue
            c.send(row.input + req(DELETE, b"k", opaque=i) +
                   req(NOOP, opaque=i))
            want += TABLE.pattern(reply)
            want += rb"\x81\x04[\s\S]{22}(?:Not found)?"
            want += re.escape(res(NOOP, opaque=i))
        c.send(END[0])
        assert re.fullmatch(want + re.escape(END[1]), c.recv_until(END[1]),
                            re.S)


def test_B7_every_unknown_opcode_empty_and_with_a_body(proxy):
    with proxy.client() as c:
        for op in [0x1f, *range(0x25, 0x100)]:
            for body in (b"", b"hello"):
                c.ask(req(op, value=body, opaque=op), err(op, 0x81, op))
        c.ask(*END)


def test_unknown_opcodes_with_a_large_body(proxy):
    with proxy.client() as c:
        for size in (70000, 3 * MIB):
            c.send(req(0x99, value=b"\x80" * size) + END[0])
            c.expect(err(0x99, 0x81) + END[1])


def test_version_is_that_of_text(proxy):
    with proxy.client() as c:
        c.ask(req(VERSION), res(VERSION, value=proxy.version()[8:-2]))


def test_B19_stat_is_a_list_that_ends(proxy):
    with proxy.client() as c:
        for kind, known in ((b"", b"pid"), (b"settings", None),
                            (b"workers", None), (b"backends", None)):
            c.send(req(STAT, kind))
            found = {}
            while True:
                op, status, opaque, key, data = read_one(c)
                assert (op, status, opaque) == (STAT, 0, OPAQUE)
                if not key:
                    break
                found[key] = data
            assert data == b"" and len(found) > 3
            assert set(found) == set(k.encode() for k in
                                     proxy.stats(kind.decode()))
            assert known is None or known in found
        c.ask(req(STAT, b"nonsense"), err(STAT, 1))
        c.ask(*END)


def test_B17_a_set_over_the_limit_takes_the_old_value(proxy, direct):
    for op, size, left in ((SET, 1500000, b""), (SETQ, MIB, b""),
                           (SETQ, 1500000, b""), (SET, MIB, b""),
                           (ADD, 1500000, OLD), (REPLACEQ, 1500000, OLD),
                           (APPEND, 1500000, OLD), (PREPENDQ, 1500000, OLD)):
        direct.ask(b"set k 0 0 3\r\nold\r\n", b"STORED\r\n")
        with proxy.client() as c:
            c.send(store(op, value=b"x" * size) + END[0])
            c.expect(err(op, 3) + END[1])
            c.ask(*END)
        direct.ask(b"get k\r\n", left + b"END\r\n")


def test_B18_10000_quiet_misses_without_a_noop(proxy):
    worker = proxy.worker_pids()[0]
    misses = b"".join(req(GETQ, b"no%d" % i, opaque=i) for i in range(10000))
    asked = proxy.stat("get_misses")
    with proxy.client() as c:
        c.send(misses)
        wait_for(lambda: proxy.stat("get_misses") == asked + 10000)
        assert c.is_quiet()
        before = rss_bytes(worker)
        for _ in range(4):
            c.send(misses)
        wait_for(lambda: proxy.stat("get_misses") == asked + 50000)
        assert c.is_quiet()
        assert ASAN or rss_bytes(worker) - before < 2 * MIB
        c.ask(*END)


# B12, B13, B16: pieces


def random_frame(rng, i):
    """An opcode, any but those that end things, and a request with it."""
    key = b"r%d" % rng.randrange(20)
    op = rng.choice([rng.randrange(0x25), rng.randrange(256)])
    if op in (QUIT, QUITQ, FLUSH, FLUSHQ, STAT):
        op = NOOP
    if op in (NOOP, VERSION):
        return op, req(op, opaque=i)
    if op == VERBOSITY:
        return op, req(op, ext=pack(">I", 1), opaque=i)
    if op in (SET, SETQ, ADD, ADDQ, REPLACE, REPLACEQ, APPEND, APPENDQ,
              PREPEND, PREPENDQ):
        return op, store(op, key, rng.randbytes(rng.randrange(300)), opaque=i)
    if op in (INCR, INCRQ, DECR, DECRQ):
        return op, count(op, key=key, opaque=i)
    if op in (TOUCH, GAT, GATQ, GATK, GATKQ):
        return op, touch(op, key, opaque=i)
    if op in (GET, GETQ, GETK, GETKQ, DELETE, DELETEQ):
        return op, req(op, key, opaque=i)
    return op, req(op, value=rng.randbytes(rng.randrange(200)), opaque=i)


QUIET = set(Q.values())


@pytest.mark.parametrize("seed", range(4))
def test_B12_random_opcodes_in_random_pieces(proxy, seed):
    rng = random.Random(seed)
    frames, data = [], b""
    while len(data) < 65536:
        op, frame = random_frame(rng, len(frames))
        frames.append(op)
        data += frame
    data += req(QUITQ)
    with proxy.client() as c:
        at = 0
        while at < len(data):
            n = rng.choice([1, 7, 23, 24, 25, 300, 4000])
            c.send(data[at:at + n])
            at += n
            if rng.random() < 0.1:
                proxy.tick()
        got = c.eof()
    seen, at = -1, 0
    while at < len(got):
        magic, op, keylen, extlen, _, _, bodylen, opaque, _ = \
            unpack(">BBHBBHIIQ", got[at:at + 24])
        assert magic == 0x81 and keylen + extlen <= bodylen
        # One reply each, in order; only quiet ones may be without.
        assert seen < opaque and op == frames[opaque]
        assert all(o in QUIET for o in frames[seen + 1:opaque])
        seen = opaque
        at += 24 + bodylen
    assert at == len(got)
    assert all(o in QUIET for o in frames[seen + 1:])


@pytest.mark.parametrize("seed", range(30))
def test_B12_random_headers(proxy, seed):
    """Whatever comes is well formed until the connection closes."""
    rng = random.Random(seed)
    data = b""
    for i in range(50):
        data += req(rng.randrange(0x28), opaque=i,
                    keylen=rng.choice([0, 1, 2, 250, 65535]),
                    extlen=rng.choice([0, 4, 8, 20, 255]),
                    bodylen=rng.choice([0, 1, 9, 21, 300, 2 ** 31])) + \
            rng.randbytes(rng.choice([0, 1, 9, 21, 300]))
    with proxy.client() as c:
        c.send_to_closing(data)
        try:
            c.shut_write()
        except OSError:
            pass
        got = c.eof()
    at = 0
    while at < len(got):
        magic, _, keylen, extlen, _, _, bodylen, _, _ = \
            unpack(">BBHBBHIIQ", got[at:at + 24])
        assert magic == 0x81 and keylen + extlen <= bodylen
        at += 24 + bodylen
    assert at == len(got)


def test_B13_two_quiet_stores_cut_around_the_receive_buffer(proxy, direct):
    size = 256 * 1024
    rng = random.Random(1)
    first = store(SETQ, b"k1", rng.randbytes(size - 46))	# ends 12 before
    second = store(SETQ, b"k2", rng.randbytes(size))
    data = first + second
    for cut in [*range(size - 30, size + 50, 3), len(first), len(first) + 24]:
        direct.ask(b"flush_all\r\n", b"OK\r\n")
        with proxy.client() as c:
            c.send(data[:cut])
            proxy.tick()
            c.send(data[cut:] + END[0])
            c.expect(END[1])
        for key, frame in ((b"k1", first), (b"k2", second)):
            body = frame[34:]
            direct.ask(b"mg %s v f\r\n" % key, b"VA %d f5\r\n%s\r\n" % (
                len(body), body))


def test_B16_a_piece_of_a_header_then_an_end(proxy):
    for n in range(1, 24):
        c = proxy.client()
        c.send(req(GET, b"k")[:n])
        proxy.tick()
        if n % 2:
            c.shut_write()
            assert c.eof() == b""
        c.close()
    wait_for(lambda: proxy.stat("curr_connections") == 1)


def test_B16_a_reply_and_then_an_end_in_a_header(proxy):
    with proxy.client() as c:
        c.send(req(NOOP) + req(GET, b"k")[:17])
        c.shut_write()
        assert c.eof() == res(NOOP)


def test_half_a_body_then_an_end_stores_nothing(proxy, direct):
    direct.ask(b"flush_all\r\n", b"OK\r\n")
    for n in (24, 33, 35, 2000):
        with proxy.client() as c:
            c.send(store(SET, value=b"x" * 4000)[:n])
            proxy.tick()
            c.shut_write()
            assert c.eof() == b""
    direct.ask(b"get k\r\n", b"END\r\n")


# Backends that fail


FAILING = [req(GET, b"k"), req(GETQ, b"k"), req(GETKQ, b"k"), touch(GATQ),
           touch(TOUCH), store(SET), store(SETQ), store(APPENDQ),
           req(DELETEQ, b"k"), count(INCRQ), req(FLUSH), req(FLUSHQ)]


@pytest.mark.parametrize("request_", FAILING, ids=lambda r: name(r[1]))
def test_a_failed_backend_is_named(request_):
    with Kvproxy([free_port()]) as kv, kv.client() as c:
        c.send(request_)
        op, status, opaque, key, text = read_one(c)
        assert (op, status, opaque, key) == (request_[1], 0x86, OPAQUE, b"")
        assert kv.hosts[0].encode() in text
        c.ask(*END)
        assert kv.stat("failed_requests") == 1


def test_read_failure_miss_is_a_miss_in_binary():
    with Kvproxy([free_port()], core={"read_failure": "miss"}) as kv, \
            kv.client() as c:
        c.send(req(GET, b"k") + req(GETQ, b"k") + req(GETK, b"k") + END[0])
        c.expect(err(GET, 1) + res(GETK, b"k", status=1) + END[1])
        assert kv.stat("failed_as_miss") == 3


def test_a_backend_that_is_silent_fails_quiet_ones_too():
    with FakeBackend(script=lambda conn, r: b"") as fake, \
            Kvproxy([fake], core={"recv_timeout": 100}) as kv, \
            kv.client() as c:
        for request in (req(GETQ, b"k"), store(SETQ)):
            c.send(request + END[0])
            assert read_one(c)[:3] == (request[1], 0x86, OPAQUE)
            c.expect(END[1])
        assert kv.stat("fail_timeout") == 2


@pytest.mark.parametrize("dialect", ["meta", "text"])
def test_an_error_of_a_backend_is_a_failure(dialect):
    error = b"SERVER_ERROR out of memory storing object\r\n"
    with FakeBackend(dialect, lambda conn, r: error) as fake, \
            Kvproxy([fake]) as kv, kv.client() as c:
        for request in (store(SET), store(SETQ), req(GETQ, b"k")):
            c.send(request)
            op, status, opaque, key, text = read_one(c)
            assert (op, opaque, key) == (request[1], OPAQUE, b"")
            assert status in (0x82, 0x86) and text
        c.ask(*END)


def test_bad_requests_reach_no_backend():
    rows = [r for r in ROWS if r.closes and r.reply[6:8] in
            (b"\0\x04", b"\0\x81")]
    assert len(rows) > 40
    with FakeBackend() as fake, Kvproxy([fake]) as kv:
        for row in rows:
            with kv.client() as c:
                c.send_to_closing(row.input)
                assert c.eof() == row.reply
        assert fake.requests == []
        assert kv.stat("bad_requests") == len(rows)
        assert kv.stat("close_bad") == len(rows)


def test_flush_reaches_every_host_and_can_be_forbidden():
    with Memcached() as m1, Memcached() as m2, Kvproxy([m1, m2]) as kv, \
            kv.client() as c:
        for request, reply in ((req(FLUSH), res(FLUSH)),
                               (req(FLUSHQ), b""),
                               (touch(FLUSH, b"", 0), res(FLUSH))):
            for m in (m1, m2):
                m.ask(K, b"STORED\r\n")
            c.send(request + END[0])
            c.expect(reply + END[1])
            for m in (m1, m2):
                m.ask(b"get k\r\n", b"END\r\n")
    with FakeBackend() as fake, \
            Kvproxy([fake], core={"allow_flush": "off"}) as kv, \
            kv.client() as c:
        for op in (FLUSH, FLUSHQ):
            c.ask(req(op), res(op, status=0x20, value=b"Auth failure."))
        c.ask(*END)
        assert fake.requests == []


def test_a_noop_waits_for_every_host():
    answer = threading.Event()

    def script(conn, r):
        assert answer.wait(10)

    with FakeBackend() as f1, FakeBackend(script=script) as f2, \
            Kvproxy([f1, f2]) as kv, kv.client() as c:
        c.send(b"".join(req(GETQ, b"no%d" % i) for i in range(20)) + END[0])
        wait_for(lambda: kv.backend(f1, "requests") == len(f1.requests) > 0
                 and f2.requests)
        kv.tick()
        assert c.is_quiet()
        answer.set()
        c.expect(END[1])


def test_M16_a_binary_read_leaves_the_token(memcached, direct):
    with Kvproxy([memcached]) as kv, kv.client() as c1, kv.client() as c2:
        for request, reply in ((req(GET, b"s"), value(GET)),
                               (req(GETKQ, b"s"), value(GETKQ, key=b"s")),
                               (touch(GAT, b"s"), value(GAT)),
                               (touch(TOUCH, b"s"),
                                res(TOUCH, ext=pack(">I", 5), cas=CAS_N))):
            direct.ask(b"set s 5 0 2\r\nhi\r\n", b"STORED\r\n")
            c2.ask(b"md s I T30\r\n", b"HD\r\n")
            c1.send(request + END[0])
            assert re.fullmatch(TABLE.pattern(reply + END[1]),
                                c1.recv_until(END[1]), re.S)
            c2.ask(b"mg s O2\r\n", b"HD O2 X W\r\n")


# client_proto


def test_the_first_byte_chooses():
    with Memcached() as m, Kvproxy([m]) as kv, kv.client() as c1, \
            kv.client() as c2:
        c1.ask(req(NOOP), res(NOOP))
        c2.ask(b"mn\r\n", b"MN\r\n")
        # Binary after text is a line like any other.
        c2.ask(req(GET, b"k") + b"\r\n", b"ERROR\r\n")
        c2.ask(b"mn\r\n", b"MN\r\n")
        c1.send(b"version\r\n" * 3)
        assert c1.eof() == b""


def test_a_port_of_text_closes_on_binary():
    with Memcached() as m, \
            Kvproxy([m], service={"client_proto": "text"}) as kv:
        for data in (req(NOOP), b"\x80", store(SET)):
            with kv.client() as c:
                c.send_to_closing(data)
                assert c.eof() == b""
        with kv.client() as c:
            c.ask(K + b"mg k v\r\nget k\r\n", b"STORED\r\nVA 2\r\nhi\r\n"
                  b"VALUE k 5 2\r\nhi\r\nEND\r\n")


def test_a_port_of_binary_knows_three_words():
    with Memcached() as m, \
            Kvproxy([m], service={"client_proto": "binary"}) as kv:
        with kv.client() as c:
            c.ask(store(SETQ) + END[0], END[1])
        with kv.client() as c:
            assert c.ask_line(b"version\r\n").startswith(b"VERSION 1.6.18 ")
            c.send(b"status\r\n")
            assert m.name.encode() in c.recv_until(b"async queue [")
            c.recv_until(b"]\n\n")
            c.send(b"quit\r\n")
            assert c.eof() == b""
        for data in (b"g" * 50, b"get k\r\n", b"set k 0 0 2\r\nno\r\n"):
            with kv.client() as c:
                c.send_to_closing(data)
                c.eof()
        m.ask(b"mg k v f\r\n", b"VA 2 f5\r\nhi\r\n")


@pytest.mark.parametrize("data", [b"g" * 50, b"\x81" * 50, b"\0" * 50],
                         ids=lambda data: repr(data[:1]))
def test_C14_garbage_on_a_port_of_binary(data):
    with Memcached() as m, \
            Kvproxy([m], service={"client_proto": "binary"}) as kv, \
            kv.client() as c:
        c.send_to_closing(data)
        assert c.eof() == b""


# One key in every dialect


def is_plain(key):
    return not set(key) & set(b" \0\n")


def text_set(key, data):
    return b"set %s 5 0 %d noreply\r\n%s\r\n" % (key, len(data), data)


def text_get(key, data):
    return b"get %s\r\n" % key, b"VALUE %s 5 %d\r\n%s\r\nEND\r\n" % (
        key, len(data), data)


def meta_set(key, data):
    return b"ms %s %d F5 q\r\n%s\r\n" % (key, len(data), data)


def meta_get(key, data):
    return b"mg %s k f v\r\n" % key, b"VA %d k%s f5\r\n%s\r\n" % (
        len(data), key, data)


def base64_set(key, data):
    return b"ms %s %d b F5 q\r\n%s\r\n" % (b64encode(key), len(data), data)


def base64_get(key, data):
    k = b64encode(key)
    return b"mg %s k f v b\r\n" % k, b"VA %d k%s b f5\r\n%s\r\n" % (
        len(data), k, data)


def binary_set(key, data):
    return store(SETQ, key, data)


def binary_get(key, data):
    return req(GETK, key), value(GETK, data, key)


DIALECTS = {
    "text": (text_set, text_get, is_plain),
    "meta": (meta_set, meta_get, is_plain),
    "base64": (base64_set, base64_get, lambda key: len(key) <= 186),
    "binary": (binary_set, binary_get, lambda key: True),
}


def random_keys(n):
    """Keys of all bytes and lengths, that meta too can say."""
    rng = random.Random(11)
    plain = bytes(b for b in range(256) if b not in b" \0\n")
    keys = {bytes(rng.choices(plain, k=i)) for i in range(1, 251)}
    keys |= {rng.randbytes(i) for i in range(1, 187)}
    keys |= {b"a%cb" % b for b in range(256)}
    while len(keys) < n:
        length = rng.randrange(1, 251)
        keys.add(rng.randbytes(length) if length <= 186 else
                 bytes(rng.choices(plain, k=length)))
    return sorted(keys)


def pipelined(client, asks):
    """Send all of (request, answer), in batches, and read each answer."""
    for at in range(0, len(asks), 100):
        batch = asks[at:at + 100]
        client.send(b"".join(ask for ask, _ in batch))
        for ask, answer in batch:
            got = client.recv_exactly(len(answer))
            if CAS in answer:
                assert got[16:24] != bytes(8)
                got = got[:16] + CAS + got[24:]
            assert got == answer, ask


def check_all(kv, direct, keys, data_of):
    """All KEYS read in all dialects; on which one server each is."""
    for put, get, can_say in DIALECTS.values():
        with kv.client() as c:
            pipelined(c, [get(k, data_of(k)) for k in keys if can_say(k)])
    found = {}
    for i, c in enumerate(direct):
        c.send(b"".join(req(GETKQ, k) for k in keys) + END[0])
        while True:
            op, status, _, key, data = read_one(c)
            if op == NOOP:
                break
            assert status == 0 and data == data_of(key)
            assert key not in found, "on two servers"
            found[key] = i
    assert sorted(found) == keys
    return found


def test_1000_keys_in_every_dialect():
    """In each turn another dialect writes a key, all others read it, and it
    stays on its server."""
    keys, homes = random_keys(1000), []
    with Memcached() as m1, Memcached() as m2, Memcached() as m3, \
            Kvproxy([m1, m2, m3]) as kv:
        direct = [m.client() for m in (m1, m2, m3)]
        for turn in range(len(DIALECTS)):
            def data_of(key):
                return b"%d of " % turn + key

            written = {}
            for i, key in enumerate(keys):
                want = list(DIALECTS.values())[(i + turn) % len(DIALECTS)]
                put = want[0] if want[2](key) else binary_set
                written.setdefault(put, []).append(put(key, data_of(key)))
            for put, requests in written.items():
                with kv.client() as c:
                    c.send(b"".join(requests))
                    c.ask(*(END if put is binary_set else (b"mn\r\n",
                                                           b"MN\r\n")))
            homes.append(check_all(kv, direct, keys, data_of))
        for c in direct:
            c.close()
    assert set(homes[0].values()) == {0, 1, 2}
    assert all(there == homes[0] for there in homes)


def test_a_number_counts_in_every_dialect(proxy, direct):
    direct.ask(b"set k 0 0 2\r\n10\r\n", b"STORED\r\n")
    with proxy.client() as text, proxy.client() as c:
        for i in range(11, 40, 3):
            text.ask(b"incr k 1\r\n", b"%d\r\n" % i)
            text.ask(b"ma k v\r\n", b"VA 2\r\n%d\r\n" % (i + 1))
            c.send(count(INCR))
            assert c.recv_exactly(32)[24:] == pack(">Q", i + 2)


def test_a_cas_is_the_same_in_every_dialect(proxy, direct):
    direct.ask(K, b"STORED\r\n")
    with proxy.client() as text, proxy.client() as c:
        c.send(req(GET, b"k"))
        cas = unpack(">Q", c.recv_exactly(30)[16:24])[0]
        text.ask(b"mg k c\r\n", b"HD c%d\r\n" % cas)
        text.ask(b"gets k\r\n", b"VALUE k 5 2 %d\r\nhi\r\nEND\r\n" % cas)
        c.send(store(SETQ, cas=cas) + store(SET, cas=cas))
        c.expect(err(SET, 2))
        text.ask(b"cas k 0 0 1 %d\r\nx\r\n" % cas, b"EXISTS\r\n")
        if proxy.dialect == "meta":
            c.send(store(SET))
            cas = unpack(">Q", c.recv_exactly(24)[16:])[0]
            text.ask(b"cas k 0 0 1 %d\r\n1\r\n" % cas, b"STORED\r\n")
            c.send(count(INCR))
            cas = unpack(">Q", c.recv_exactly(32)[16:24])[0]
            text.ask(b"ms k 1 C%d\r\n1\r\n" % cas, b"HD\r\n")
