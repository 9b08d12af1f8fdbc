"""The meta protocol, hostile and ordinary: exact bytes, however cut."""

import re
import threading
from base64 import b64encode

import pytest

from harness import FakeBackend, Kvproxy, Memcached, free_port, wait_for
from harness.rows import Row, Table, all_cuts
from harness.text import FAIL

BAD = b"CLIENT_ERROR bad command line format\r\n"
TOKEN = b"CLIENT_ERROR bad token in command line format\r\n"
CHUNK = b"CLIENT_ERROR bad data chunk\r\n"
TWICE = b"CLIENT_ERROR duplicate flag\r\n"
FLAG = b"CLIENT_ERROR invalid flag\r\n"
EITHER = b"CLIENT_ERROR invalid or duplicate flag\r\n"
LONG = b"CLIENT_ERROR opaque token too long\r\n"
MGET_MANY = b"CLIENT_ERROR options flags are too long\r\n"
MANY = b"CLIENT_ERROR options flags too long\r\n"
KEY = b"CLIENT_ERROR error decoding key\r\n"
NAN = b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"
MODE_LENGTH = b"CLIENT_ERROR incorrect length for M token\r\n"
MS_MODE = b"CLIENT_ERROR invalid mode for ms M token\r\n"
MA_MODE = b"CLIENT_ERROR invalid mode for ma M token\r\n"
INITIAL = b"CLIENT_ERROR invalid numeric initial value\r\n"
DELTA = b"CLIENT_ERROR invalid numeric delta value\r\n"
LARGE = b"SERVER_ERROR object too large for cache\r\n"
MN = b"MN\r\n"
K250, K251 = b"k" * 250, b"k" * 251
O31, O32 = b"O" + b"o" * 31, b"O" + b"o" * 32

# Marks, see Table.
CAS = b"<CAS>"
MARKS = {
    CAS: rb"[1-9]\d*",
    b"<VERSION>": rb"VERSION 1\.6\.18[^\r]*",
    b"<HOST>": rb"127\.0\.0\.1:\d+",
    b"<100>": rb"(?:100|9[89])",	# seconds left, of a moment ago
    b"<0>": rb"[012]",	# seconds since
}
NO = b"SERVER_ERROR <HOST> cannot be asked this in its protocol\r\n"
NOT_TEXT = {"refused": NO}
K = b"set k 5 0 2\r\nhi\r\n"	# what most rows find
N = b"set k 0 0 2\r\n10\r\n"
VALUE = b"VA 2\r\nhi\r\n"
HI = b"\r\nhi\r\n"	# the end of a store


def hit(name, input, reply, **kwargs):
    return Row(name, input, reply, setup=K, **kwargs)


def close(name, input, reply, same=False, **kwargs):
    return Row(name, input, reply, closes=True, same=same, **kwargs)


def ours(name, input, reply, **kwargs):
    """A row that kvproxy answers in its own way."""
    return Row(name, input, reply, same=False, **kwargs)


def nasty(name, value):
    line = b"%d\r\n%s\r\n" % (len(value), value)
    return Row(name, b"ms k " + line + b"mg k v\r\n", b"HD\r\nVA " + line)


def mg(flags, reply, what="hit", **kwargs):
    """A read of the key that is there, or of one that is not."""
    key = b"k" if what == "hit" else b"none"
    return Row("mg %s %s" % (what, flags.decode()),
               b"mg %s %s\r\n" % (key, flags), reply, setup=K, **kwargs)


def ms(flags, reply, left=b"hi", **kwargs):
    return Row("ms " + flags.decode(), b"ms k 2 %s" % flags + HI, reply,
               left={b"k": left}, **kwargs)


def over(flags, reply, left=b"hi", **kwargs):
    """A store where there is `old`."""
    return Row("ms over %s" % flags.decode(), b"ms k 2 %s" % flags + HI,
               reply, left={b"k": left}, setup=b"set k 0 0 3\r\nold\r\n",
               **kwargs)


def md(flags, reply, gone=True, **kwargs):
    return Row("md " + flags.decode(), b"md k %s\r\n" % flags, reply,
               setup=K, left={b"k": None if gone else b"hi"}, **kwargs)


def ma(flags, reply, left, **kwargs):
    """Arithmetic on 10."""
    return Row("ma " + flags.decode(), b"ma k %s\r\n" % flags, reply,
               setup=N, left={b"k": left}, **kwargs)


HOSTILE = [
    Row("M1 no length", b"ms k\r\n", BAD),
    close("M1 length -1", b"ms k -1\r\nversion\r\n", BAD),
    close("M1 length 2^31-1", b"ms k 2147483647\r\nversion\r\n", BAD),
    close("M1 length 2^31-2", b"ms k 2147483646\r\nversion\r\n", BAD),
    close("M1 length 2^32", b"ms k 4294967296\r\n\r\n", BAD,
          left={b"k": None}),
    close("M1 length 2^64", b"ms k 18446744073709551616\r\n\r\n", BAD),
    close("M1 length 2^30+1", b"ms k 1073741825\r\n", BAD),
    close("M1 length abc", b"ms k abc\r\nversion\r\n", BAD),
    close("M1 length +2", b"ms k +2" + HI, BAD, left={b"k": None}),
    close("M1 length 2x", b"ms k 2x" + HI, BAD, left={b"k": None}),
    close("M1 length S2", b"ms k S2" + HI, BAD, left={b"k": None}),
    close("M1 a flag for a length", b"ms k T0 2" + HI, BAD),
    Row("M1 length 007", b"ms k 007\r\nversion\r\nmg k v\r\n",
        b"HD\r\nVA 7\r\nversion\r\n"),
    Row("M2 mode Z", b"ms k 2 MZ" + HI, MS_MODE, left={b"k": None}),
    Row("M2 mode Z, a command for a value",
        b"ms k 9 MZ\r\nflush_all\r\nversion\r\n", MS_MODE + b"<VERSION>\r\n"),
    Row("M2 swallows the length, whatever is there",
        b"ms k 2 MZ\r\nhello\r\n", MS_MODE + b"ERROR\r\n"),
    ours("M2 long key", b"ms " + K251 + b" 7\r\nversion\r\n", BAD),
    Row("M3 v v", b"mg k v v\r\n", TWICE, setup=K),
    Row("M3 v and v of a miss", b"mg k v k v\r\n", TWICE),
    Row("M3 byte 0x7e", b"mg k ~\r\n", FLAG),
    Row("M3 byte 0x7f", b"mg k \x7f\r\n", TWICE),
    Row("M3 byte 0x80", b"mg k \x80\r\n", TWICE),
    Row("M3 byte 0xff", b"mg k v \xff\r\n", TWICE),
    Row("M3 ms byte 0xff", b"ms k 2 \xff" + HI, TWICE, left={b"k": None}),
    Row("M3 md byte 0xff", b"md k \xff\r\n", EITHER, setup=K,
        left={b"k": b"hi"}),
    Row("M3 ma byte 0xff", b"ma k \xff\r\n", EITHER, setup=N,
        left={b"k": b"10"}),
    Row("M4 unknown among many", b"mg foo m o o o o o o o o o\r\n", FLAG),
    Row("M4 30 tokens", b"mg k" + b" v" * 28 + b"\r\n", MGET_MANY),
    Row("M4 1000 tokens", b"mg k" + b" v" * 1000 + b"\r\n", MGET_MANY),
    close("M4 2000 tokens", b"mg k" + b" v" * 2000 + b"\r\n", b""),
    ours("M4 30 tokens of ms", b"ms k 7" + b" c" * 27 + b"\r\nversion\r\n",
         MANY, left={b"k": None}),
    Row("M4 30 tokens of md", b"md k" + b" q" * 28 + b"\r\n", MANY,
        setup=K, left={b"k": b"hi"}),
    Row("M4 30 tokens of ma", b"ma k" + b" v" * 28 + b"\r\n", MANY,
        setup=N, left={b"k": b"10"}),
    hit("M4 19 tokens", b"mg k v s t f h l u P L I D1 J1 F0 MS k O1 c\r\n",
        b"VA 2 s2 t-1 f5 h0 l<0> kk O1 c<CAS>" + HI, **NOT_TEXT),
    hit("M4 20 tokens", b"mg k v s t f h l u P L I D1 J1 F0 MS k O1 c C1\r\n",
        MGET_MANY),
    Row("M4 19 tokens of ms",
        b"ms k 2 v s t f h l u P L I D1 J1 T0 k O1 c" + HI,
        b"HD kk O1 c<CAS>\r\n", left={b"k": b"hi"}, **NOT_TEXT),
    ours("M4 20 tokens of ms",
         b"ms k 2 v s t f h l u P L I D1 J1 T0 k O1 c F0" + HI, MANY,
         left={b"k": None}),
    Row("M5 not base64", b"mg !!! b v\r\n", KEY),
    Row("M5 base64 of 3 bytes", b"mg a2V b v\r\n", KEY),
    Row("M5 padding alone", b"mg ==== b v\r\n", KEY),
    ours("M5 bits in the padding", b"mg YR== b v\r\n", KEY),
    Row("M5 ms not base64", b"ms !!! 2 b" + HI, KEY),
    Row("M5 md not base64", b"md !!! b\r\n", EITHER),
    Row("M5 ma not base64", b"ma !!! b\r\n", EITHER),
    Row("M5 b is the plain key's", b"ms a2V5 2 b" + HI + b"mg key v\r\n"
        b"get key\r\nmd a2V5 b\r\nmg key v\r\n",
        b"HD\r\n" + VALUE + b"VALUE key 0 2" + HI + b"END\r\nHD\r\nEN\r\n"),
    Row("M5 a key with a space", b"ms YSBi 2 b" + HI + b"mg YSBi b v k\r\n"
        b"md YSBi k b\r\nmg YSBi v b\r\n",
        b"HD\r\nVA 2 kYSBi b" + HI + b"HD kYSBi b\r\nEN\r\n", refused=NO * 4),
    Row("M5 a key of NUL and LF", b"ma AAo= b N0 J7 v\r\nmg AAo= b v k\r\n",
        b"VA 1\r\n7\r\nVA 1 kAAo= b\r\n7\r\n", same=False,
        refused=NO * 2),
    Row("M5 250 bytes that are 186",
        b"ms " + b64encode(b" " * 186) + b" 2 b k" + HI + b"mg " +
        b64encode(b" " * 186) + b" b v\r\n",
        b"HD k" + b64encode(b" " * 186) + b" b\r\n" + VALUE, refused=NO * 2),
    Row("M5 252 bytes", b"mg " + b64encode(b"k" * 189) + b" b\r\n", BAD),
    hit("M6 opaque of 31", b"mg k %s\r\nmg none %s\r\n" % (O31, O31),
        b"HD %s\r\nEN %s\r\n" % (O31, O31)),
    hit("M6 opaque of 32", b"mg k %s\r\n" % O32, LONG),
    hit("M6 opaque of 40", b"mg k v O" + b"o" * 40 + b"\r\n", LONG),
    Row("M6 miss, opaque of 32", b"mg k %s\r\n" % O32, LONG),
    Row("M6 ms opaque of 31", b"ms k 2 %s" % O31 + HI, b"HD %s\r\n" % O31),
    Row("M6 ms opaque of 32", b"ms k 2 %s" % O32 + HI, LONG,
        left={b"k": None}),
    hit("M6 md opaque of 31", b"md k %s\r\n" % O31, b"HD %s\r\n" % O31),
    hit("M6 md opaque of 32", b"md k %s\r\n" % O32, LONG,
        left={b"k": b"hi"}),
    Row("M6 ma opaque of 31", b"ma k %s\r\n" % O31, b"HD %s\r\n" % O31,
        setup=N),
    Row("M6 ma opaque of 32", b"ma none %s\r\n" % O32, LONG),
    hit("M6 opaque of 0", b"mg k O\r\n", b"HD O\r\n"),
    hit("M6 an opaque of any bytes", b"mg k O\xff\x01 k\r\n",
        b"HD O\xff\x01 kk\r\n"),
    ours("M6 an opaque with NUL", b"ms k 2 O\0a" + HI, b"HD O\0a\r\n",
         left={b"k": b"hi"}),
    hit("M6 two opaques", b"mg k O1 O2\r\n", TWICE),
    hit("M6 an opaque of flags", b"mg k Okckv k\r\n", b"HD Okckv kk\r\n"),
    Row("M7 q and EX", b"ms k 2 C1 q" + HI, b"EX\r\n", setup=K),
    Row("M7 q and NS", b"ms k 2 ME q" + HI, b"NS\r\n", setup=K),
    Row("M7 q and NF", b"ms k 2 q C1" + HI, b"NF\r\n"),
    Row("M7 q and a bad flag", b"ms k 2 q z" + HI, FLAG),
    Row("M8 misses then mn", b"mg none v q\r\n" * 5 + b"mn\r\n", MN),
    hit("M8 hits among misses", b"mg none v q\r\nmg k v q O1\r\nmg no k q\r\n"
        b"mg k q\r\nmn\r\n", b"VA 2 O1" + HI + b"HD\r\n" + MN),
    close("M9 quit", b"mg k s\r\nmg k s\r\nquit\r\nmg k s\r\n",
          b"HD s2\r\n" * 2, setup=K, same=True),
    ours("M14 the client's own form, asked plainly", b"mg key k O1 v\r\n",
         b"VA 2 kkey O1" + HI, setup=b"ms a2V5 2 b" + HI),
    ours("M14 the client's own form, asked in base64",
         b"mg a2V5 b k O1 v\r\n", b"VA 2 ka2V5 b O1" + HI,
         setup=b"set key 0 0 2" + HI),
    Row("M14 a miss", b"mg a2V5 k O1 b\r\n", b"EN ka2V5 b O1\r\n"),
    Row("M15 mg", b"mg\r\n", b"ERROR\r\n"),
    Row("M15 ms", b"ms\r\n", b"ERROR\r\n"),
    Row("M15 md", b"md\r\n", b"ERROR\r\n"),
    Row("M15 ma", b"ma\r\n", b"ERROR\r\n"),
    Row("M15 mn foo", b"mn foo\r\n", MN),
    Row("M15 mn", b"mn\r\n", MN),
    ours("M15 me", b"me k\r\n", b"ERROR\r\n", setup=K),
    Row("M15 mx", b"mx k\r\n", b"ERROR\r\n"),
    Row("M15 mgk", b"mgk k\r\n", b"ERROR\r\n"),
    Row("M15 MG", b"MG k\r\n", b"ERROR\r\n", setup=K),
]

MGET = [
    Row("mg alone", b"mg k\r\n", b"HD\r\n", setup=K),
    Row("mg alone, a miss", b"mg k\r\n", b"EN\r\n"),
    mg(b"v", VALUE), mg(b"f", b"HD f5\r\n"), mg(b"c", b"HD c<CAS>\r\n"),
    mg(b"t", b"HD t-1\r\n", **NOT_TEXT), mg(b"l", b"HD l<0>\r\n", **NOT_TEXT),
    mg(b"h", b"HD h0\r\n", **NOT_TEXT), mg(b"s", b"HD s2\r\n"),
    mg(b"k", b"HD kk\r\n"), mg(b"O1", b"HD O1\r\n"), mg(b"q", b"HD\r\n"),
    mg(b"u", b"HD\r\n", **NOT_TEXT), mg(b"T100", b"HD\r\n"),
    mg(b"T100 t", b"HD t<100>\r\n", **NOT_TEXT),
    mg(b"t T100", b"HD t-1\r\n", **NOT_TEXT),
    mg(b"T100 v f", b"VA 2 f5" + HI),
    mg(b"T-1", b"HD\r\n"),
    mg(b"N30 v", VALUE, **NOT_TEXT),
    mg(b"R30", b"HD\r\n", **NOT_TEXT),
    mg(b"F1", b"HD\r\n"), mg(b"I", b"HD\r\n"),
    mg(b"C1", b"HD\r\n"), mg(b"MZ", b"HD\r\n"), mg(b"J1", b"HD\r\n"),
    mg(b"D1", b"HD\r\n"), mg(b"P", b"HD\r\n"), mg(b"Lfoo", b"HD\r\n"),
    mg(b"s v f c t k O9 l h q u P L",
       b"VA 2 s2 f5 c<CAS> t-1 kk O9 l<0> h0" + HI, **NOT_TEXT),
    mg(b"L P u q h l O9 k t c f v s",
       b"VA 2 h0 l<0> O9 kk t-1 c<CAS> f5 s2" + HI, **NOT_TEXT),
    mg(b"s v f c k O9 q", b"VA 2 s2 f5 c<CAS> kk O9" + HI),
    mg(b"q O9 k c f v s", b"VA 2 O9 kk c<CAS> f5 s2" + HI),
    mg(b"k O1 s v f c", b"EN knone O1\r\n", "miss"),
    mg(b"O1 k", b"EN O1 knone\r\n", "miss"),
    mg(b"v", b"EN\r\n", "miss"), mg(b"T100 t", b"EN\r\n", "miss", **NOT_TEXT),
    mg(b"R30 h l t u", b"EN\r\n", "miss", **NOT_TEXT),
    mg(b"N30 q k", b"HD knone W\r\n", "miss", **NOT_TEXT),
    mg(b"qx", b"", "miss"), mg(b"v1 f2 kfoo q3", b"VA 2 f5 kk" + HI),
    mg(b"q", b"", "miss"), mg(b"k O1 q v", b"", "miss"),
    mg(b"q T100", b"", "miss"),
    mg(b"N30 v", b"VA 0 W\r\n\r\n", "miss", **NOT_TEXT),
    mg(b"N30 v t k O1", b"VA 0 t30 knone O1 W\r\n\r\n", "miss", same=False,
       **NOT_TEXT),
    mg(b"Tabc", TOKEN), mg(b"T", TOKEN), mg(b"Nabc", TOKEN),
    mg(b"Rabc", TOKEN), mg(b"T%d" % 10 ** 20, TOKEN), mg(b"Cabc", TOKEN),
    mg(b"C18446744073709551616", TOKEN), mg(b"Fabc", BAD),
    mg(b"F4294967296", BAD, same=False), mg(b"M", MODE_LENGTH),
    mg(b"MSS", MODE_LENGTH), mg(b"Jabc", INITIAL), mg(b"Dabc", DELTA),
    mg(b"T+5", TOKEN, same=False), mg(b"T--5", TOKEN),
    mg(b"C-1", TOKEN, same=False), mg(b"D-1", DELTA, same=False),
    mg(b"T0x5", TOKEN), mg(b"z", FLAG), mg(b"v Z", FLAG),
    Row("mg fetched before", b"mg k u\r\nmg k h\r\nmg k h\r\n",
        b"HD\r\nHD h0\r\nHD h1\r\n", setup=K, refused=NO * 3),
    Row("mg long key", b"mg " + K251 + b" v\r\n", BAD),
    Row("mg key of 250", b"mg " + K250 + b" v k\r\n",
        b"VA 2 k" + K250 + HI, setup=b"set " + K250 + b" 0 0 2" + HI),
    ours("mg NUL for a flag", b"mg k \0v\r\n", FLAG, setup=K),
    ours("mg NUL in a key", b"mg k\0b v\r\n", BAD, setup=K),
    Row("mg 8 bit key", b"ms a\xe9\1 2" + HI + b"mg a\xe9\1 v k\r\n",
        b"HD\r\nVA 2 ka\xe9\1" + HI),
    hit("mg LF ends a line", b"mg k v\n", VALUE),
    hit("mg many spaces", b" mg   k   v   s  \r\n", b"VA 2 s2" + HI),
    hit("mg and get", b"get k\r\nmg k v\r\nget k\r\nversion\r\n",
        (b"VALUE k 5 2" + HI + b"END\r\n").join([b"", VALUE, b""]) +
        b"<VERSION>\r\n"),
    Row("mg of nothing", b"mg k v\r\nmg k s v\r\n",
        b"VA 0\r\n\r\nVA 0 s0\r\n\r\n", setup=b"set k 0 0 0\r\n\r\n"),
]

MSET = [
    Row("ms alone", b"ms k 2" + HI, b"HD\r\n", left={b"k": b"hi"}),
    ms(b"k", b"HD kk\r\n"), ms(b"O1", b"HD O1\r\n"), ms(b"q", b""),
    ms(b"c", b"HD c<CAS>\r\n", **NOT_TEXT),
    ms(b"T0", b"HD\r\n"), ms(b"T-1", b"HD\r\n", None),
    ms(b"F9", b"HD\r\n"), ms(b"I", b"HD\r\n"),
    ms(b"v s t f h l u P Lx", b"HD\r\n"),
    ms(b"D1 J1", b"HD\r\n"), ms(b"N1 R1", b"HD\r\n"),
    ms(b"O1 k c", b"HD O1 kk c<CAS>\r\n", **NOT_TEXT),
    ms(b"c k O1", b"HD c<CAS> kk O1\r\n", **NOT_TEXT),
    ms(b"q k O1 c", b"", **NOT_TEXT),
    ms(b"MS", b"HD\r\n"), ms(b"ME", b"HD\r\n"),
    ms(b"MR", b"NS\r\n", None), ms(b"MA", b"NS\r\n", None),
    ms(b"MP", b"NS\r\n", None), ms(b"C1", b"NF\r\n", None),
    ms(b"C1 MR", b"NF\r\n", None),
    ms(b"MR k O1 c", b"NS kk O1 c0\r\n", None, **NOT_TEXT),
    ms(b"C1 c O1 k", b"NF c0 O1 kk\r\n", None, **NOT_TEXT),
    ms(b"C1 MA", b"NS\r\n", None, **NOT_TEXT),
    over(b"MS", b"HD\r\n"), over(b"ME", b"NS\r\n", b"old"),
    over(b"MR", b"HD\r\n"), over(b"MA", b"HD\r\n", b"oldhi"),
    over(b"MP", b"HD\r\n", b"hiold"), over(b"C1", b"EX\r\n", b"old"),
    over(b"C1 k c O1", b"EX kk c0 O1\r\n", b"old", **NOT_TEXT),
    over(b"C<CAS>", b"HD\r\n"), over(b"C<CAS> MR", b"HD\r\n"),
    over(b"C1 MA", b"EX\r\n", b"old", **NOT_TEXT),
    over(b"C<CAS> MP", b"HD\r\n", b"hiold", **NOT_TEXT),
    over(b"ME k O1 c", b"NS kk O1 c0\r\n", b"old", **NOT_TEXT),
    over(b"q MA", b"", b"oldhi"), over(b"q C<CAS>", b""),
    over(b"q ME k", b"NS kk\r\n", b"old"),
    over(b"T100", b"HD\r\n"),
    ms(b"Ms", MS_MODE, None), ms(b"M", MODE_LENGTH, None),
    ms(b"MSS", MODE_LENGTH, None), ms(b"Tabc", TOKEN, None),
    ms(b"Cabc", TOKEN, None), ms(b"Fabc", BAD, None),
    ms(b"F4294967296", BAD, None, same=False),
    ms(b"F-1", BAD, None, same=False), ms(b"Jx", INITIAL, None),
    ms(b"Dx", DELTA, None), ms(b"z", FLAG, None), ms(b"k k", TWICE, None),
    ms(b"2", FLAG, None), ms(b"k 2 k", FLAG, None),
    Row("ms flags come back", b"ms k 2 F4294967295" + HI + b"mg k f v\r\n",
        b"HD\r\nVA 2 f4294967295" + HI),
    Row("ms time to live", b"ms k 2 T100" + HI + b"mg k t\r\n",
        b"HD\r\nHD t<100>\r\n", text=b"HD\r\n" + NO),
    Row("ms of nothing", b"ms k 0\r\n\r\nmg k v\r\n", b"HD\r\nVA 0\r\n\r\n"),
    Row("ms LF ends a line", b"ms k 2\nhi\r\n", b"HD\r\n"),
    Row("ms many spaces", b"ms  k  2  O1 " + HI, b"HD O1\r\n"),
    close("ms body too long", b"ms k 2\r\nhello\r\n", CHUNK,
          left={b"k": None}),
    close("ms LF ends a body", b"ms k 2\r\nhi\n\r\n", CHUNK,
          left={b"k": None}),
    close("ms body too long, quiet", b"ms k 2 q\r\nhello\r\n", CHUNK,
          left={b"k": None}),
    ours("ms NUL in a key", b"ms k\0b 7\r\nversion\r\n", BAD,
         left={b"k": None}),
    nasty("ms END in a value", b"a\r\nEND\r\nb"),
    nasty("ms EN and HD in a value", b"\r\nEN\r\nHD\r\n"),
    nasty("ms a command in a value", b"\r\nmg k v\r\nflush_all\r\n"),
    nasty("ms NULs and lone CRs", b"\0\r\0\r\r\n\0"),
]

REST = [
    Row("md alone", b"md k\r\n", b"HD\r\n", setup=K, left={b"k": None}),
    Row("md of nothing", b"md k\r\n", b"NF\r\n"),
    Row("md of nothing, q", b"md k q\r\n", b"NF\r\n"),
    Row("md of nothing, k O", b"md k k O1 v\r\n", b"NF kk O1\r\n"),
    Row("md of nothing, C", b"md k C1\r\n", b"NF\r\n", **NOT_TEXT),
    md(b"k", b"HD kk\r\n"), md(b"O1", b"HD O1\r\n"), md(b"q", b""),
    md(b"O1 k q", b""), md(b"O1 k", b"HD O1 kk\r\n"),
    md(b"v s f h l u c P L", b"HD\r\n"), md(b"T30", b"HD\r\n"),
    md(b"C1", b"EX\r\n", False, **NOT_TEXT),
    md(b"C1 q k", b"EX kk\r\n", False, **NOT_TEXT),
    md(b"C<CAS>", b"HD\r\n", **NOT_TEXT), md(b"C<CAS> q", b"", **NOT_TEXT),
    md(b"k k", EITHER, False), md(b"z", EITHER, False),
    md(b"Tabc", EITHER, False), md(b"Cabc", EITHER, False),
    md(b"C-1", EITHER, False, same=False), md(b"M", EITHER, False),
    hit("md I q", b"md k I q\r\nmg k s\r\n", b"HD s2 X W\r\n",
        text=NO + b"HD s2\r\n"),
    md(b"Cx I", EITHER, False),
    Row("md long key", b"md " + K251 + b"\r\n", BAD),
    hit("md I", b"md k I\r\nmg k v c\r\nmg k v\r\n",
        b"HD\r\nVA 2 c<CAS> X W" + HI + b"VA 2 Z X" + HI,
        text=NO + b"VA 2 c<CAS>" + HI + VALUE),
    hit("md I T", b"md k I T100 q\r\nmg k t s k O1\r\n",
        b"HD t<100> s2 kk O1 X W\r\n", refused=NO * 2),
    hit("a stale item written with an old CAS",
        b"md k I T100\r\nms k 2 C<CAS> I\r\nhe\r\nmg k v\r\nmg k v\r\n",
        b"HD\r\nHD\r\nVA 2 X W\r\nhe\r\nVA 2 Z X\r\nhe\r\n",
        text=NO * 2 + VALUE * 2),
    Row("recache", b"mg k R30 O1\r\nmg k R30 O1\r\n",
        b"HD O1 W\r\nHD O1 Z\r\n", setup=b"set k 5 10 2" + HI,
        refused=NO * 2),
    Row("recache not yet", b"mg k R30\r\n", b"HD\r\n",
        setup=b"set k 5 100 2" + HI, **NOT_TEXT),
    Row("vivify", b"mg k N30 v\r\nmg k N30 v\r\nms k 2\r\nhi\r\nmg k v\r\n",
        b"VA 0 W\r\n\r\nVA 0 Z\r\n\r\nHD\r\n" + VALUE,
        text=NO * 2 + b"HD\r\n" + VALUE),
    Row("ma alone", b"ma k\r\n", b"HD\r\n", setup=N, left={b"k": b"11"}),
    Row("ma of nothing", b"ma k\r\n", b"NF\r\n", left={b"k": None}),
    Row("ma of nothing, k O v", b"ma k k O1 v c t\r\n", b"NF kk O1\r\n",
        **NOT_TEXT),
    Row("ma of nothing, q", b"ma k q v\r\n", b"NF\r\n"),
    Row("ma initial", b"ma k N0 J13 v\r\n", b"VA 2\r\n13\r\n",
        left={b"k": b"13"}),
    Row("ma no initial", b"ma k N0 k O1\r\n", b"HD kk O1\r\n",
        left={b"k": b"0"}),
    Row("ma initial with a time", b"ma k N100 J13 v t\r\nmg k t\r\n",
        b"VA 2 t<100>\r\n13\r\nHD t<100>\r\n", refused=NO * 2),
    Row("ma initial of 2^64-1", b"ma k N0 J18446744073709551615 v\r\n",
        b"VA 20\r\n18446744073709551615\r\n"),
    ours("ma initial, q", b"ma k N0 J13 q v\r\n", b"",
         left={b"k": b"13"}),
    ma(b"v", b"VA 2\r\n11\r\n", b"11"), ma(b"k", b"HD kk\r\n", b"11"),
    ma(b"O1", b"HD O1\r\n", b"11"), ma(b"q", b"", b"11"),
    ma(b"q v k", b"", b"11"),
    ma(b"D5 v", b"VA 2\r\n15\r\n", b"15"), ma(b"MI", b"HD\r\n", b"11"),
    ma(b"M+ D0", b"HD\r\n", b"10"), ma(b"MD v", b"VA 1\r\n9\r\n", b"9 "),
    ma(b"M- D11 v", b"VA 1\r\n0\r\n", b"0 "),
    ma(b"N0 J13 v", b"VA 2\r\n11\r\n", b"11"),
    ma(b"D18446744073709551615 v", b"VA 1\r\n9\r\n", b"9 "),
    ma(b"c", b"HD c<CAS>\r\n", b"11", **NOT_TEXT),
    ma(b"t", b"HD t-1\r\n", b"11", **NOT_TEXT),
    ma(b"T100 t", b"HD t<100>\r\n", b"11", **NOT_TEXT),
    ma(b"v k O1 D2", b"VA 2 kk O1\r\n12\r\n", b"12"),
    ma(b"O1 t v c k", b"VA 2 O1 t-1 c<CAS> kk\r\n11\r\n", b"11", **NOT_TEXT),
    ma(b"s f h l u P L I F1", b"HD\r\n", b"11"),
    ma(b"C1 O1", b"EX O1\r\n", b"10", **NOT_TEXT),
    ma(b"C1 q", b"EX\r\n", b"10", **NOT_TEXT),
    ma(b"C<CAS> v", b"VA 2\r\n11\r\n", b"11", **NOT_TEXT),
    ma(b"MZ", MA_MODE, b"10"), ma(b"M", EITHER, b"10"),
    ma(b"Dabc", EITHER, b"10"), ma(b"D18446744073709551616", EITHER, b"10"),
    ma(b"D-1", EITHER, b"10", same=False),
    ma(b"D+1", EITHER, b"10", same=False), ma(b"Jabc", EITHER, b"10"),
    ma(b"Nabc", EITHER, b"10"), ma(b"v v", EITHER, b"10"),
    ma(b"z", EITHER, b"10"),
    hit("ma of text", b"ma k\r\nma k q O1\r\n", NAN * 2,
        left={b"k": b"hi"}),
    Row("ma wraps", b"ma k v\r\n", b"VA 1\r\n0\r\n",
        setup=b"set k 0 0 20\r\n18446744073709551615\r\n"),
    Row("ma long key", b"ma " + K251 + b"\r\n", BAD),
]

ROWS = HOSTILE + MGET + MSET + REST
TABLE = Table(ROWS, b"mn\r\n", MN, MARKS, CAS, lambda cas: b"%d" % cas)


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
    want, ends = b"", 1
    direct.ask(b"flush_all\r\n", b"OK\r\n")
    with proxy.client() as c:
        for i, row in enumerate(ROWS):
            reply, _ = row.after(proxy.dialect)
            if row.closes or row.setup or CAS in row.input:
                continue
            c.send(row.input + b"ms mark 3 q\r\n%03d\r\nmg mark v O%d\r\n"
                   b"md k\r\nmd key\r\nmd none\r\n" % (i, i))
            want += TABLE.pattern(reply + b"VA 3 O%d\r\n%03d\r\n" % (i, i))
            want += rb"(?:(?:HD|NF)\r\n){3}"
            ends += reply.count(MN)
        c.send(b"mn\r\n")
        got = b"".join(c.recv_until(MN) for _ in range(ends))
        assert re.fullmatch(want + MN, got, re.S)


def test_keys_of_every_length(proxy):
    with proxy.client() as c:
        for n in range(1, 251):
            key = b"i" * n
            c.ask(b"ms %s 2 k" % key + HI, b"HD k%s\r\n" % key)
            c.ask(b"mg %s v k\r\n" % key, b"VA 2 k%s" % key + HI)
            if n <= 186:
                b = b64encode(key)
                c.ask(b"mg %s v b k\r\n" % b, b"VA 2 k%s b" % b + HI)
                c.ask(b"md %s b k\r\n" % b, b"HD k%s b\r\n" % b)
                c.ask(b"mg %s v k\r\n" % key, b"EN k%s\r\n" % key)


def test_a_store_over_the_limit_takes_the_old_value(proxy, direct):
    for flags in (b"", b" q", b" O1 k"):
        direct.ask(b"set k 0 0 3\r\nold\r\n", b"STORED\r\n")
        with proxy.client() as c:
            c.send(b"ms k 1500000%s\r\n" % flags + b"x" * 1500000 +
                   b"\r\nmn\r\n")
            c.expect(LARGE + MN)
        direct.ask(b"get k\r\n", b"END\r\n")


@pytest.mark.parametrize("dialect", ["meta", "text"])
def test_bad_requests_reach_no_backend(dialect):
    rows = [r for r in ROWS if r.reply.startswith(b"CLIENT_ERROR") and
            r.reply != NAN * 2 and r.reply.count(b"\n") == 1]
    assert len(rows) > 60
    with FakeBackend(dialect) as fake, Kvproxy([fake]) as kv:
        for row in rows:
            with kv.client() as c:
                c.send_to_closing(row.input.replace(CAS, b"1"))
                if row.closes:
                    assert c.eof() == row.reply
                else:
                    c.ask(b"mn\r\n", row.reply + MN)
        assert fake.requests == []
        assert kv.stat("bad_requests") == len(rows)


# M6, opaques and quiet


def test_M6_opaques_never_cross_requests(proxy, direct):
    """Three clients, pipelines, each opaque once."""
    direct.ask(K, b"STORED\r\n")
    clients = [proxy.client() for _ in range(3)]
    for i in range(200):
        for n, c in enumerate(clients):
            c.send(b"mg k O%d-%d v\r\nmg none%d k O%d+%d\r\n" %
                   (n, i, i, n, i))
    for n, c in enumerate(clients):
        c.expect(b"".join(b"VA 2 O%d-%d" % (n, i) + HI +
                          b"EN knone%d O%d+%d\r\n" % (i, n, i)
                          for i in range(200)))
        c.close()


def test_M6_the_clients_opaque_and_q_stay_here():
    """The backend sees the proxy's own number, once, and no q."""
    lines = [b"mg k O77 v q\r\n", b"ms k 2 q O77" + HI, b"ma k O77 q\r\n",
             b"md k q O77\r\n"]
    with FakeBackend() as fake, Kvproxy([fake]) as kv, kv.client() as c:
        fake.store[b"k"] = b"hi"
        c.ask(b"".join(lines) + b"mn\r\n", b"VA 2 O77" + HI + MN)
        assert [r.cmd for r in fake.requests] == [b"mg", b"ms", b"ma", b"md"]
        for r in fake.requests:
            assert b"q" not in r.flags and b"O77" not in r.flags
            assert sum(f[:1] == b"O" for f in r.flags) <= 1
        assert len({r.opaque for r in fake.requests}) == 4


@pytest.mark.parametrize("dialect", ["meta", "text"])
def test_M8_quiet_misses_are_asked_and_counted(dialect):
    with FakeBackend(dialect) as fake, \
            Kvproxy([fake], service={"backend_proto": dialect}) as kv, \
            kv.client() as c:
        c.ask(b"".join(b"mg no%d v q\r\n" % i for i in range(500)) +
              b"mn\r\n", MN)
        assert c.is_quiet()
        assert len(fake.requests) == 500
        assert kv.stat("get_misses") == 500


def test_M8_mn_waits_for_every_host():
    answer = threading.Event()

    def script(conn, req):
        assert answer.wait(10)

    with FakeBackend() as f1, FakeBackend(script=script) as f2, \
            Kvproxy([f1, f2]) as kv, kv.client() as c:
        c.send(b"".join(b"mg no%d v q\r\n" % i for i in range(20)) +
               b"mn\r\nmn\r\n")
        wait_for(lambda: kv.backend(f1, "requests") == len(f1.requests) > 0
                 and f2.requests)
        kv.tick()
        assert c.is_quiet()
        answer.set()
        c.expect(MN + MN)


def test_500_reads_are_served_in_windows():
    """C9 in meta: far more than a window, values with their opaques."""
    with Memcached() as m, Kvproxy([m], service={"client_window": 16}) as kv, \
            kv.client() as c:
        for i in range(0, 500, 2):
            c.send(b"ms k%d 1000 q\r\n%04d" % (i, i) + b"x" * 996 + b"\r\n")
        c.ask(b"mn\r\n", MN)
        for q in (b"", b" q"):
            c.send(b"".join(b"mg k%d v O%d%s\r\n" % (i, i, q)
                            for i in range(500)) + b"mn\r\n")
            for i in range(500):
                if i % 2 == 0:
                    c.expect(b"VA 1000 O%d\r\n%04d" % (i, i) + b"x" * 996 +
                             b"\r\n")
                elif not q:
                    c.expect(b"EN O%d\r\n" % i)
            c.expect(MN)


# M7, M10 to M12, faults


@pytest.mark.parametrize("line", [
    b"mg k v q\r\n", b"ms k 2 q" + HI, b"md k q\r\n", b"ma k q v O1\r\n",
    b"mg k\r\n", b"ms k 2 ME O1 k" + HI])
def test_M7_a_failed_backend_is_told_though_q(line):
    with Kvproxy([free_port()]) as kv, kv.client() as c:
        c.send(line + b"mn\r\n")
        said = c.recv_line()
        assert said.startswith(FAIL) and kv.hosts[0].encode() in said
        c.expect(MN)
        assert kv.stat("failed_requests") == 1


def test_read_failure_miss_is_a_miss_in_meta():
    with Kvproxy([free_port()], core={"read_failure": "miss"}) as kv, \
            kv.client() as c:
        c.ask(b"mg k v k O1\r\nmg k q\r\nmn\r\n", b"EN kk O1\r\n" + MN)
        assert kv.stat("failed_as_miss") == 2
        c.send(b"ms k 2 q" + HI)
        assert c.recv_line().startswith(FAIL)


@pytest.mark.parametrize("line", [b"mg k v q O1\r\n", b"ms k 2 q" + HI])
def test_a_backend_that_is_silent_is_told_though_q(line):
    with FakeBackend(script=lambda conn, req: b"") as fake, \
            Kvproxy([fake], core={"recv_timeout": 100}) as kv, \
            kv.client() as c:
        c.send(line + b"mn\r\n")
        said = c.recv_line()
        assert said.startswith(FAIL) and fake.name.encode() in said
        c.expect(MN)
        assert kv.stat("fail_timeout") == 1


@pytest.mark.parametrize("line, error", [
    (b"mg k v q\r\n", b"SERVER_ERROR out of memory writing get response\r\n"),
    (b"ms k 2 q" + HI, b"SERVER_ERROR out of memory storing object\r\n"),
    (b"ma k q\r\n", NAN)], ids=["mg", "ms", "ma"])
def test_M7_an_error_of_a_backend_is_passed_on_though_q(line, error):
    with FakeBackend(script=lambda conn, req: error) as fake, \
            Kvproxy([fake]) as kv, kv.client() as c:
        c.ask(line + b"mn\r\n", error + MN)
        assert kv.backend(fake, "connects") == 1


@pytest.mark.parametrize("why", ["killed", "closes"])
def test_M10_stores_to_a_dead_backend(why):
    """Three whole ms and half of a fourth; the rest when those failed."""
    lines = [b"ms k%d 100 O%d\r\n" % (i, i) + b"x" * 100 + b"\r\n"
             for i in range(4)]
    sent = b"".join(lines[:3]) + lines[3][:60]

    def script(conn, req):
        conn.close()
        return b""

    backend = Memcached() if why == "killed" else FakeBackend(script=script)
    with backend, Kvproxy([backend]) as kv, kv.client() as c:
        kv.wait_connected(backend)
        if why == "killed":
            backend.kill()
            wait_for(lambda: kv.backend(backend, "connected") == 0)
        c.send(sent)
        for _ in range(3):
            assert c.recv_line().startswith(FAIL)
        kv.tick()
        assert c.is_quiet()
        c.send(lines[3][60:] + b"mn\r\n")
        assert c.recv_line().startswith(FAIL)
        c.expect(MN)
        c.ask(b"mn\r\n", MN)
        assert kv.stat("failed_requests") == 4


def test_M11_the_client_closes_in_a_store_to_a_dead_backend():
    line = b"ms k 100 O1\r\n" + b"x" * 100 + b"\r\n"
    with Kvproxy([free_port()]) as kv:
        for cut in (1, 13, 60, len(line) - 1):
            for last in ("close", "reset"):
                c = kv.client()
                c.send(line * 3 + line[:cut])
                kv.tick()
                getattr(c, last)()
        wait_for(lambda: kv.stat("curr_connections") == 1)
        assert kv.stat("requests") >= 3


@pytest.mark.parametrize("data", [b"ms cancelable 5\r\n",
                                  b"ms cancelable 500000\r\nhe",
                                  b"ms badchunk 2\r\nfail"])
def test_M12_ten_clients_leave_in_a_store(proxy, direct, data):
    for _ in range(10):
        with proxy.client() as c:
            c.send(data)
            proxy.tick()
    wait_for(lambda: proxy.stat("curr_connections") == 1)
    direct.ask(b"get cancelable badchunk\r\n", b"END\r\n")
    with proxy.client() as c:
        c.ask(b"ms k 2" + HI + b"mg k v\r\n", b"HD\r\n" + VALUE)


# M13, M16: tokens to recache


def test_M13_one_of_many_wins_and_one_server_was_asked():
    with Memcached() as m1, Memcached() as m2, Memcached() as m3, \
            Kvproxy([m1, m2, m3], workers=2) as kv:
        for i in range(20):
            clients = [kv.client() for _ in range(5)]
            for c in clients:
                c.send(b"mg key%d N30 v\r\n" % i)
            said = [c.recv_until(b"\r\n\r\n") for c in clients]
            for c in clients:
                c.close()
            assert sorted(said) == [b"VA 0 W\r\n\r\n"] + \
                [b"VA 0 Z\r\n\r\n"] * 4
            there = [m.ask(b"mg key%d\r\n" % i) for m in (m1, m2, m3)]
            assert sorted(there) == [b"EN\r\n"] * 2 + [b"HD Z\r\n"]


CLASSIC = {
    b"get s\r\n": rb"VALUE s 5 2\r\nhi\r\nEND\r\n",
    b"get a s b\r\n": rb"VALUE s 5 2\r\nhi\r\nEND\r\n",
    b"gets s\r\n": rb"VALUE s 5 2 \d+\r\nhi\r\nEND\r\n",
    b"touch s 100\r\n": rb"TOUCHED\r\n",
    b"gat 100 s\r\n": rb"VALUE s 5 2\r\nhi\r\nEND\r\n",
    b"gats 100 s\r\n": rb"VALUE s 5 2 \d+\r\nhi\r\nEND\r\n",
}


@pytest.mark.parametrize("classic", CLASSIC, ids=repr)
def test_M16_a_classic_read_leaves_the_token(memcached, direct, classic):
    with Kvproxy([memcached]) as kv, kv.client() as c1, kv.client() as c2:
        for again in (1, 3):
            direct.ask(b"set s 5 0 2" + HI, b"STORED\r\n")
            c1.ask(b"md s I T30\r\n", b"HD\r\n")
            c1.send(classic * again + b"mn\r\n")
            assert re.fullmatch(b"(?:%s){%d}" % (CLASSIC[classic], again),
                                c1.recv_until(MN)[:-len(MN)])
            c2.ask(b"mg s O2\r\n", b"HD O2 X W\r\n")
            c1.ask(b"mg s v\r\n", b"VA 2 Z X" + HI)


def test_a_cas_of_meta_is_that_of_gets(proxy, direct):
    direct.ask(K, b"STORED\r\n")
    with proxy.client() as c:
        cas = c.ask_line(b"mg k c\r\n").split()[1][1:]
        c.ask(b"gets k\r\n", b"VALUE k 5 2 %s" % cas + HI + b"END\r\n")
        c.ask(b"cas k 5 0 2 %s" % cas + HI, b"STORED\r\n")
        c.ask(b"ms k 2 C%s O1" % cas + HI, b"EX O1\r\n")
        if proxy.dialect == "meta":
            cas = c.ask_line(b"ms k 2 c F5" + HI).split()[1][1:]
            c.ask(b"gets k\r\n", b"VALUE k 5 2 %s" % cas + HI + b"END\r\n")
            cas = c.ask_line(b"ms k 1 c C%s\r\n7\r\n" % cas).split()[1][1:]
            cas = c.ask_line(b"ma k c C%s\r\n" % cas).split()[1][1:]
            c.ask(b"md k C%s k\r\n" % cas, b"HD kk\r\n")


def test_threads_of_clients_each_see_their_own(proxy):
    """Sixteen at once, sets and gets of values that name their key."""
    wrong = []

    def run(n):
        with proxy.client() as c:
            for i in range(50):
                key = b"t%d-%d" % (n, i)
                c.send(b"ms %s %d q O%d\r\n%s\r\nmg %s v k O%d\r\n" %
                       (key, len(key), i, key, key, i))
                want = b"VA %d k%s O%d\r\n%s\r\n" % (len(key), key, i, key)
                got = c.recv_exactly(len(want))
                if got != want:
                    wrong.append((got, want))

    threads = [threading.Thread(target=run, args=(n,)) for n in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong
