"""Conversations for t/sys_differential.py: some by hand, some by chance.

A talk is a list of turns; a turn is sent whole, and answered before the next
one begins.  A turn is a list of requests, and a request is bytes, or makes
them from the CAS tokens that were seen (Later), or is one thing to kvproxy
and another to memcached (Odd).
"""

import random

from harness import binary

K250, K251 = b"k" * 250, b"k" * 251
BOGUS_CAS = 1 << 60	# no server counts as far


class Later:
    """A request made by MAKE(cas), where cas(i) is the i-th distinct CAS
    token that this side has shown; -1 is the one seen last."""

    def __init__(self, make):
        self.make = make


class Odd:
    """An intended difference: kvproxy is to answer OURS as memcached answers
    THEIRS, which is a bytes object or a Later."""

    def __init__(self, family, ours, theirs):
        self.family, self.ours, self.theirs = family, ours, theirs


class Talk:
    def __init__(self, name, *turns, binary=False):
        self.name = name
        self.turns = [t if isinstance(t, list) else [t] for t in turns]
        self.binary = binary

    def requests(self):
        return [r for turn in self.turns for r in turn]

    def odd(self):
        return [r for r in self.requests() if isinstance(r, Odd)]

    def bytes(self):
        """Roughly what kvproxy is sent, to look for words in."""
        data = b""
        for r in self.requests():
            r = r.ours if isinstance(r, Odd) else r
            data += r.make(lambda i: 1) if isinstance(r, Later) else r
        return data


NAMES = {code: name for name, code in binary.OPCODES.items()}


def shown(line):
    text = repr(line)[2:-1].replace("\\r\\n", "|")
    return text if len(text) < 50 else \
        "%s...%s (%d)" % (text[:30], text[-12:], len(line))


def binary_name(data):
    """What is in a request, for people."""
    magic, op, keylen, extlen, _, _, bodylen, opaque, cas = \
        binary.HEADER.unpack_from(data)
    body = data[binary.HEADER.size:]
    more = "".join(" %s=%d" % (n, v) for n, v in (
        ("ext", extlen), ("body", bodylen), ("cas", min(cas, 1))) if v)
    if magic != binary.REQUEST:
        more += " magic=%d" % magic
    return "%s%s key=%r%s" % (NAMES.get(op, "opcode %d" % op), more,
                              body[extlen:extlen + keylen][:12],
                              " and more" if len(data) > 24 + bodylen else "")


def every(setup, requests, end, binary=False):
    """A talk for each of REQUESTS: SETUP, it, END.  The turns are three, for
    memcached forgets what it has not sent yet where a get fails."""
    name = binary_name if binary else shown
    return [Talk(name(r.ours if isinstance(r, Odd) else r), setup, r, end,
                 binary=binary) for r in requests]


# The text protocol, by hand

def put(key, value, flags=0, exptime=b"0", verb=b"set", tail=b""):
    return b"%s %s %d %s %d%s\r\n%s\r\n" % (
        verb, key, flags, exptime, len(value), tail, value)


def text_cas(key, value, i, tail=b""):
    return Later(lambda cas: put(key, value, verb=b"cas",
                                 tail=b" %d" % cas(i) + tail))


def lines(text):
    """The lines of TEXT as requests."""
    return [s.strip().encode() + b"\r\n" for s in text.strip().split("\n")]


TEXT_SETUP = put(b"k", b"abc", 5) + put(b"n", b"10") + put(b"e", b"", 7,
                                                           b"100")
TEXT_END = b"get k n e none a\r\n"

TEXT_LINES = lines("""
    get k
    gets k
    get k n none e
    gets k n none e
    get k k k
    get none
    gets none none
    bget k n
    bget
    get
    gets
    gat
    gats
    gat 10
    gat 100 k
    gats 100 k
    gat 0 k n none e
    gats 0 k n none e
    gat -1 k n
    gat 2147483647 k
    gat 2592001 k
    gat abc k
    gat 99999999999999999999 k
    touch k 100
    touch k 0
    touch k -1
    touch k 2147483648
    touch k 4294967296
    touch k 4294967396
    touch k -4294967295
    touch k abc
    touch none 100
    touch k 100 noreply
    touch k
    touch
    touch k 1 2 3
    touch k 100 quietly
    delete k
    delete none
    delete k noreply
    delete k 0
    delete k 0 noreply
    delete k 10
    delete k 10 noreply
    delete k 0 0
    delete k noreply noreply
    delete
    delete a b c d e
    incr n 1
    incr n 0
    incr n 90
    incr n 0000000001
    incr n 18446744073709551615
    incr n 18446744073709551616
    incr n abc
    incr n -1
    incr n 1 noreply
    incr n abc noreply
    incr n 1 quietly
    incr n
    incr n 1 2 3
    incr k 1
    incr e 1
    incr none 1
    decr n 1
    decr n 11
    decr n 1 noreply
    decr none 1
    decr k 1
    decr n
    flush_all
    flush_all 0
    flush_all -1
    flush_all 1000000000
    flush_all 100
    flush_all noreply
    flush_all 0 noreply
    flush_all abc
    flush_all abc noreply
    flush_all 0 1 2 3
    flush_all 0 1
    verbosity 1
    verbosity 0 noreply
    verbosity
    verbosity noreply
    verbosity abc
    verbosity 1 2
    verbosity 1 2 3
    version
    version 1 2 3
    stats
    stats settings
    stats noreply
    bogus
    BOGUS k
    GET k
    gett k
    ge k
    set
    set k
    set k 0 0
    add k 0
    replace k 0 0
    cas k 0 0 1
    append
    prepend k
    shutdown
    quit
    quit now
    lru
    slabs
    GET / HTTP/1.1
    PUT /k HTTP/1.1
    POST /k HTTP/1.0
    DELETE /k HTTP/1.1
""") + [
    b"\r\n", b"\n", b" \r\n", b"   \n", b"\r\r\n", b" get k\r\n",
    b"get  k   n \r\n", b"get k\n", b"get k n\n", b"get\tk\r\n",
    b"get k\r\r\n", b"get k\tn\r\n", b"get \r\n", b"touch  k  0 \n",
    b"get " + K250 + b"\r\n", b"get " + K251 + b"\r\n",
    b"gets k " + K251 + b" n\r\n", b"gat 0 " + K251 + b"\r\n",
    b"get k n " + K251 + b"\r\n", b"touch " + K251 + b" 0\r\n",
    b"touch " + K251 + b" 0 noreply\r\n", b"delete " + K251 + b"\r\n",
    b"delete " + K251 + b" noreply\r\n", b"incr " + K251 + b" 1\r\n",
    b"decr " + K251 + b" 1 noreply\r\n", b"touch " + K250 + b" 0\r\n",
    b"get" + b" k" * 22 + b"\r\n", b"get" + b" k" * 23 + b"\r\n",
    b"get" + b" k" * 24 + b"\r\n", b"get" + b" n none" * 60 + b"\r\n",
    b"gats 0" + b" k none" * 60 + b"\r\n",
    b"get" + b" " * 200 + b"k n\r\n", b"get " + b"none " * 2000 + b"\r\n",
    b"x" * 1500 + b"\r\n",
]

TEXT_STORES = [
    put(b"a", b"v"), put(b"k", b"v", 4294967295), put(b"k", b""),
    put(b"k", b"\0\r\n\r\nEND\r\n"), put(b"k", b"VALUE k 0 3\r\nabc"),
    put(b"k", bytes(range(256))), put(b"k", b"quit\r\n"),
    put(K250, b"long") + b"get " + K250 + b"\r\n",
    put(b"a\1\x7f\xff", b"v") + b"get a\1\x7f\xff\r\n",
    put(b"a\tb\rc", b"v") + b"gets a\tb\rc\r\n",
    b"set  k  1   0 2 \r\nhi\r\n", b"set k 1 0 2\nhi\r\n",
    b"set k 0001 0000 0002\r\nhi\r\n", b"set k 0 0 2 quietly\r\nhi\r\n",
    put(b"k", b"v", exptime=b"-1"), put(b"k", b"v", exptime=b"100"),
    put(b"k", b"v", exptime=b"2592000"), put(b"k", b"v", exptime=b"2592001"),
    put(b"k", b"v", exptime=b"2147483647"),
    put(b"k", b"v", exptime=b"-2147483648"),
    put(b"k", b"v", exptime=b"2147483648"),
    put(b"k", b"v", exptime=b"4294967295"),
    put(b"k", b"v", exptime=b"4294967296"),
    put(b"k", b"v", exptime=b"4294967396"),
    put(b"k", b"v", exptime=b"9223372036854775807"),
] + [put(key, b"-new", 9, verb=verb, tail=tail)
     for verb in (b"set", b"add", b"replace", b"append", b"prepend")
     for key in (b"k", b"e", b"a") for tail in (b"", b" noreply")] + [
    put(key, b"new", verb=b"cas", tail=b" %d%s" % (BOGUS_CAS, tail))
    for key in (b"k", b"a") for tail in (b"", b" noreply")] + [
    put(b"k", b"", verb=verb) for verb in (b"append", b"prepend")]

BIG = 1048576 - 50	# with key and header a little too much
TEXT_LARGE = [
    put(b"k", b"x" * 1000000), put(b"k", b"x" * (BIG - 50)),
    put(b"k", b"x" * BIG), put(b"k", b"x" * 1048576),
    put(b"k", b"x" * 1048577), put(b"k", b"x" * 1500000),
    put(b"a", b"x" * 1048577, verb=b"add"),
    put(b"k", b"x" * 1000000) + put(b"k", b"y" * 100000, verb=b"append"),
    put(b"k", b"x" * 1048577, tail=b" noreply"),
    # Of what is too large only a set takes the old value with it.
] + [put(b"k", b"x" * n, verb=verb) for n in (BIG, 1048577)
     for verb in (b"add", b"replace", b"append", b"prepend")] + [
    put(b"k", b"x" * n, verb=b"cas", tail=b" %d" % BOGUS_CAS)
    for n in (BIG, 1048577)]

# What kvproxy is to do in another way, and how memcached has to be asked so
# that it does the same.


def bad_store(ours, line, family="bad stores"):
    """The LINE alone, for memcached reads its value as commands."""
    return Odd(family, ours, line)


def bad_and_gone(ours, line, family="bad stores"):
    return Odd(family, ours, line + b"quit\r\n")


def digits(ours, theirs):
    return Odd("strict", ours, theirs)


TEXT_ODD = [
    # words that memcached's strtol takes for numbers
    digits(b"set k +1 0 2\r\nhi\r\n", b"set k x 0 2\r\n"),
    digits(b"set k 0 +1 2\r\nhi\r\n", b"set k 0 x 2\r\n"),
    digits(b"set k 0 0 +2\r\nhi\r\n", b"set k 0 0 x\r\nquit\r\n"),
    digits(b"set k 1\t 0 2\r\nhi\r\n", b"set k x 0 2\r\n"),
    digits(b"set k -0 0 2\r\nhi\r\n", b"set k x 0 2\r\n"),
    digits(b"cas k 0 0 2 +1\r\nhi\r\n", b"cas k 0 0 2 x\r\n"),
    digits(b"incr n +1\r\n", b"incr n x\r\n"),
    digits(b"incr n 1\t\r\n", b"incr n x\r\n"),
    digits(b"decr n -0\r\n", b"decr n x\r\n"),
    digits(b"incr n -18446744073709551615\r\n", b"incr n x\r\n"),
    digits(b"touch k +10\r\n", b"touch k x\r\n"),
    digits(b"gat +10 k\r\n", b"gat x k\r\n"),
    digits(b"flush_all +10\r\n", b"flush_all x\r\n"),
    digits(b"verbosity +1\r\n", b"verbosity x\r\n"),
    # bad lines whose length is known, and where it is not
    bad_store(b"set k abc 0 9\r\nflush_all\r\n", b"set k abc 0 9\r\n"),
    bad_store(b"set k 0 abc 7\r\nversion\r\n", b"set k 0 abc 7\r\n"),
    bad_store(b"set k -1 0 7\r\nversion\r\n", b"set k -1 0 7\r\n"),
    bad_store(b"set k 0 9223372036854775808 7\r\nversion\r\n",
              b"set k 0 x 7\r\n"),
    bad_store(put(K251, b"version"), b"set %s 0 0 7\r\n" % K251),
    bad_store(put(K251, b"version", tail=b" noreply"),
              b"set %s 0 0 7 noreply\r\n" % K251),
    bad_store(b"add k abc 0 2 noreply\r\nhi\r\n",
              b"add k abc 0 2 noreply\r\n"),
    bad_store(b"cas k 0 0 7 abc\r\nversion\r\n", b"cas k 0 0 7 abc\r\n"),
    bad_store(b"set k 0 0 7 1 2 3\r\nversion\r\n", b"set k 0 0 7 1 2 3\r\n"),
    bad_and_gone(b"set k 0 0 -1\r\nhi\r\n", b"set k 0 0 -1\r\n"),
    bad_and_gone(b"set k 0 0 abc\r\nhi\r\n", b"set k 0 0 abc\r\n"),
    bad_and_gone(b"set k 0 0 7abc\r\nabcdefg\r\n", b"set k 0 0 7abc\r\n"),
    bad_and_gone(b"set k 0 0 4294967296\r\n\r\n", b"set k 0 0 x\r\n"),
    bad_and_gone(b"set k 0 0 2147483647\r\n\r\n", b"set k 0 0 x\r\n"),
    bad_and_gone(b"set k 0 0 abc noreply\r\nhi\r\n",
                 b"set k 0 0 abc noreply\r\n"),
    # a value that is longer than was said
    bad_and_gone(b"set k 0 0 2\r\nhello\r\n", b"set k 0 0 2\r\nhell"),
    bad_and_gone(b"set k 0 0 2\r\nhi\n\r\n", b"set k 0 0 2\r\nhi\n\r"),
    bad_and_gone(b"set k 0 0 2 noreply\r\nhello\r\n",
                 b"set k 0 0 2 noreply\r\nhell"),
    Odd("late", b"gat -1 k %s n\r\n" % K251, b"gat -1 %s\r\n" % K251),
    Odd("late", b"gats -1 n %s\r\n" % K251, b"gats -1 %s\r\n" % K251),
    # what memcached cuts off
    Odd("strict", b"set k 4294967296 0 2\r\nhi\r\n",
        b"set k x 0 2\r\n"),
    Odd("strict", b"set a\0b 0 0 2\r\nhi\r\n", b"set k x 0 2\r\n"),
    Odd("strict", b"get k\0b\r\n", b"set k x 0 2\r\n"),
    Odd("strict", b"delete k\0b\r\n", b"set k x 0 2\r\n"),
    Odd("strict", b"incr n\0b 1\r\n", b"set k x 0 2\r\n"),
] + [Odd("not proxied", line, b"bogus\r\n") for line in lines("""
    me k
    watch
    watch fetchers
    lru mode flat
    lru_crawler metadump all
    slabs automove 1
    slabs reassign 1 2
    cache_memlimit 1024
    extstore item_age 1
""")]

TEXT_TALKS = every(TEXT_SETUP, TEXT_LINES + TEXT_STORES + TEXT_LARGE +
                   TEXT_ODD, TEXT_END) + [
    Talk("cas succeeds once", put(b"k", b"v") + b"gets k\r\n",
         text_cas(b"k", b"new", 0), b"gets k\r\n", text_cas(b"k", b"x", 0),
         text_cas(b"k", b"newer", 1), b"gets k\r\n", b"delete k\r\n",
         text_cas(b"k", b"x", 2)),
    Talk("cas without a reply", put(b"k", b"v") + b"gets k\r\n",
         text_cas(b"k", b"new", 0, b" noreply"), b"gets k\r\n",
         text_cas(b"k", b"x", 0, b" noreply"), b"gets k\r\n"),
    Talk("every change gives a new token", put(b"k", b"1") + b"gets k\r\n",
         b"incr k 1\r\ngets k\r\n", b"append k 0 0 1\r\n2\r\ngets k\r\n",
         b"touch k 100\r\ngets k\r\n", b"gats 100 k\r\n",
         b"decr k 1\r\ngets k\r\n", put(b"k", b"1") + b"gets k\r\n"),
    Talk("tokens of many", put(b"a", b"1") + put(b"b", b"2") +
         put(b"c", b"3"), b"gets a b none c a\r\n", text_cas(b"b", b"x", 1),
         b"gets a b c\r\n"),
    Talk("all in one burst", TEXT_SETUP + b"get k n e\r\n" * 20 +
         b"incr n 1\r\nget n\r\ndelete n\r\nget n\r\nincr n 1\r\n" * 10),
    Talk("a deleted item comes back", put(b"k", b"1") + b"delete k\r\n" +
         put(b"k", b"2", verb=b"add") + b"get k\r\n"),
    Talk("flush_all between", put(b"k", b"1") + b"flush_all\r\nget k\r\n" +
         put(b"k", b"2") + b"get k\r\nflush_all noreply\r\nget k\r\n"),
    Talk("quit between", put(b"k", b"1") + b"get k\r\nquit\r\nget k\r\n"),
    Talk("words of the value's size", b"".join(
        put(b"k%d" % n, b"x" * n) for n in range(0, 300, 7)),
        b"get " + b" ".join(b"k%d" % n for n in range(0, 300, 7)) + b"\r\n"),
]

# The meta protocol, by hand

META_SETUP = TEXT_SETUP + b"ms YmluMQ== 3 b F6\r\nbin\r\n"
META_END = b"mg k s v f\r\nmg n s v f\r\nmg e s v f\r\n" \
    b"mg none s v f\r\nmg a s v f\r\nmg YmluMQ== s v f b\r\n"
STALE_SETUP = META_SETUP + put(b"s", b"stale") + b"md s I T30\r\n"
STALE_END = b"mg k t\r\nmg n t\r\nmg e t\r\nmg none t\r\n"

META_LINES = lines("""
    mg k
    mg k v
    mg k f
    mg k s
    mg k t
    mg k c
    mg k k
    mg k q
    mg k u
    mg k h
    mg k l
    mg k O
    mg k O1
    mg k v q
    mg k v f c s t k O123
    mg k O123 k t s c f v
    mg k k q v
    mg k h l t
    mg k u h
    mg e t
    mg e v s
    mg none
    mg none v
    mg none v q
    mg none q
    mg none q k O9
    mg none k O9
    mg none O9 k
    mg none s v f t c k
    mg none T30
    mg none N30
    mg none N30 v t c
    mg none N30 s v t f k O1
    mg none N0 t
    mg none N-1 t
    mg none N30 q
    mg k N30 v
    mg k T30 t
    mg k t T30
    mg k T0 t v
    mg k T-1 v
    mg k T2147483647
    mg k T2147483648
    mg none N4294967296
    mg k T2592001
    mg k R30 t
    mg e R30
    mg e R90
    mg e R110 t
    mg e R110 t v O1
    mg YmluMQ== b
    mg YmluMQ== b v
    mg YmluMQ== b k v
    mg YmluMQ== v b k O1
    mg YmluMQ==
    mg YmluMg== b k
    mg YmluMg== b k q
    mg YmluMg== b N30
    mg !!! b
    mg !!! b v
    mg a b
    mg k v v
    mg k O1 O2
    mg k E
    mg k S
    mg k Z
    mg k !
    mg k v E
    mg k T
    mg k Tabc
    mg k N
    mg k Nabc
    mg k R
    mg k Rabc
    mg k M
    mg k MS
    mg k MSS
    mg k Fabc
    mg k F1 C1 D1 J1 I L P
    mg k Cabc
    mg k Dabc
    mg k Jabc
    mg k v s Tabc Cabc
    mg k q q
    mg k q E
    mg k q Tabc
    mg k O1234567890123456789012345678901
    mg k O12345678901234567890123456789012
    mg none O12345678901234567890123456789012
    mg k q O12345678901234567890123456789012
    mg foo m o o o o o o o o o
    mg k a b c d e f g h i j k l m n o p q r s
    mg
    ms
    md
    ma
    ms k
    mn
    mn foo
    mx
    mx k
    m
    md k
    md none
    md k q
    md none q
    md k k O1
    md none k O1
    md none q k O1
    md k q k O1
    md k I
    md k I T30
    md k I T30 q
    md k T30 I k O1
    md none I
    md k T30
    md k C1152921504606846976
    md k C1152921504606846976 q
    md k C0
    md none C1152921504606846976
    md YmluMQ== b
    md YmluMQ== b k
    md YmluMg== b k O1
    md !!! b
    md k v
    md k f c s t h l u N30 R30
    md k Cabc
    md k Tabc
    md k q q
    md k q E
    md k E
    md k a b c d e f g h i j k l m n o p q r s
    ma n
    ma n v
    ma n q
    ma n v q
    ma n t
    ma n t v c k O1
    ma n O1 k c v t
    ma n k
    ma n D5 v
    ma n D0 v
    ma n D18446744073709551615 v
    ma n D18446744073709551616 v
    ma n Dabc
    ma n D
    ma n MI v
    ma n M+ v
    ma n MD v
    ma n M- v
    ma n MD D11 v
    ma n MX
    ma n M
    ma n MII
    ma n T30 v t
    ma n T0 t
    ma n T-1 t v
    ma n N30 J5 v
    ma n C1152921504606846976 v
    ma n C1152921504606846976 v q
    ma n C0 v
    ma none
    ma none q
    ma none v k O1
    ma none k O1 q
    ma none N30 v t
    ma none N0 v t
    ma none N0 J13 v
    ma none N30 J13 v t c k O1
    ma none N0 J18446744073709551615 v
    ma none N0 J18446744073709551616 v
    ma none J13 v
    ma none N0 J13 MD v
    ma none N0 Jabc v
    ma none Nabc v
    ma k
    ma k v
    ma k q
    ma e
    ma YmluMg== b N0 J5 k v
    ma YmluMg== b k v
    ma !!! b
    ma n E
    ma n v v
    ma n q q
    ma n f s h l u R30 I
    ma none O12345678901234567890123456789012
    ma n a b c d e f g h i j k l m n o p q r s
""") + [
    b"mg " + K250 + b" k\r\n", b"mg " + K251 + b" v\r\n",
    b"md " + K250 + b" k\r\n", b"md " + K251 + b"\r\n",
    b"ma " + K250 + b" k\r\n", b"ma " + K251 + b"\r\n",
    b"mg k \x7f\r\n", b"mg k \x80\r\n", b"mg k v \xff\r\n",
    b"md k \x7f\r\n", b"ma n \xff\r\n", b"mg  k  v  s \r\n", b"mg k v\n",
    b"mg k\tv\r\n", b" mg k v\r\n", b"mg a\1\xff k\r\n",
    b"mg k v\r\nmg k s\r\nquit\r\nmg k s\r\n",
    b"mg none v q\r\n" * 30 + b"mg k v q O1\r\nmg none v q\r\nmn\r\n",
    b"md n q\r\nmd n q\r\ndelete n\r\nincr n 1\r\n",
]


def ms(key, value, flags=b""):
    return b"ms %s %d%s\r\n%s\r\n" % (key, len(value), flags, value)


META_FLAGS = b"""
    ; q; k; O1; c; k O1 c; c k O1; q k O1; F5; F0; F4294967295; T30; T0; T-1
    T2147483647; T2592001; I; F5 T30 O1 k c; t f s v h l u; N30 R30 J1 D1 L P
    MS; Ms; ME; MA; MP; MR; MX; M; MSS; MZ; ME q; MA q; MR q; MS q
    ME k O1; MR k O1; MA k c; MP c; S; E; S100; Fabc; F; Tabc; T; Cabc; C
    q q; q S; q Fabc; k k; O1 O2; q O12345678901234567890123456789012
    O1234567890123456789012345678901; O12345678901234567890123456789012
    C1152921504606846976; C1152921504606846976 q; C0; C0 k O1
    C1152921504606846976 ME; C1152921504606846976 MA
    C1152921504606846976 MR; C1152921504606846976 MP; C1 I
    C1152921504606846976 I; C1152921504606846976 MS; b; b q
""".replace(b"\n", b";").split(b";")
META_STORES = [ms(key, b"new", f and b" " + f)
               for f in sorted({f.strip() for f in META_FLAGS})
               for key in (b"k", b"a")] + [
    ms(b"YmluMQ==", b"new", f)
    for f in (b" b", b" b k", b" k b c", b" b q", b" b MA", b" b ME k",
              b" b C1152921504606846976 k", b" b k S", b" b k v v")] + [
    ms(b"YmluMg==", b"new", b" b k ME"), ms(b"!!!", b"new", b" b"),
    ms(b"k", b""), ms(b"k", b"\0\r\n\xff"), ms(b"k", b"EN\r\n"),
    ms(K250, b"v", b" k"), ms(b"a\1\xff", b"v", b" k"),
    b"ms  k  2  F1 \r\nhi\r\n", b"ms k 2\nhi\r\n", b"ms k 002\r\nhi\r\n",
    ms(b"k", b"x" * 1000000), ms(b"k", b"x" * BIG), ms(b"k", b"x" * 1048577),
    ms(b"k", b"x" * 1500000, b" q"), ms(b"a", b"x" * 1048577, b" ME k O1"),
    ms(b"k", b"x" * 1048577, b" MX"), ms(b"k", b"x" * 1048577, b" S"),
    ms(b"k", b"a" * 600000) + ms(b"k", b"b" * 600000, b" MA"),
    b"".join(ms(b"k%d" % i, b"v" * i, b" q") for i in range(40)) +
    b"".join(b"mg k%d s q k\r\n" % i for i in range(45)) + b"mn\r\n",
]

STALE_LINES = lines("""
    mg s v
    mg s t v c O2
    mg s q
    mg s k
    mg s N30 R50
    ma s
    md s
    md s I
    get s
    mg k T100
    mg e T0
    mg none N30
    md k I T30
    ma n T30
    ma none N30
""") + [ms(b"s", b"new", b" T100"), ms(b"s", b"new", b" C1 I"),
        ms(b"k", b"new", b" T100"), ms(b"k", b"new", b" T0 MA")]

META_ODD = [
    Odd("too large", ms(b"k", b"x" * n, flags),
        put(b"k", b"x" * n, verb=b"add"))
    for n in (BIG, 1048577) for flags in (b" ME k", b" MR", b" MA q", b" MP")
] + [
    digits(b"ms k +2\r\nhi\r\n", b"ms k x\r\nquit\r\n"),
    digits(b"ms k 2 F+1\r\nhi\r\n", b"ms k 2 Fx\r\nhi\r\n"),
    digits(b"ms k 2 T+1\r\nhi\r\n", b"ms k 2 Tx\r\nhi\r\n"),
    digits(b"ms k 2 C+1\r\nhi\r\n", b"ms k 2 Cx\r\nhi\r\n"),
    digits(b"mg k T+30\r\n", b"mg k Tx\r\n"),
    digits(b"mg none N+30\r\n", b"mg none Nx\r\n"),
    digits(b"mg e R+110\r\n", b"mg e Rx\r\n"),
    digits(b"md k C+0\r\n", b"md k Cx\r\n"),
    digits(b"ma n D+1\r\n", b"ma n Dx\r\n"),
    digits(b"ma none N0 J+1\r\n", b"ma none N0 Jx\r\n"),
    Odd("strict", b"mg YmluMQ7= b v\r\n", b"mg !!! b v\r\n"),
    Odd("strict", b"md YmluMQ=&x b k\r\n", b"md !!! b k\r\n"),
    bad_and_gone(b"ms k abc\r\nhi\r\n", b"ms k abc\r\n"),
    bad_and_gone(b"ms k -1\r\nhi\r\n", b"ms k -1\r\n"),
    bad_and_gone(b"ms k S100\r\nhi\r\n", b"ms k S100\r\n"),
    bad_and_gone(b"ms k 2147483647\r\nhi\r\n", b"ms k x\r\n"),
    bad_and_gone(b"ms k 4294967296\r\n\r\n", b"ms k x\r\n"),
    bad_and_gone(b"ms k 2\r\nhello\r\n", b"ms k 2\r\nhell"),
    bad_and_gone(b"ms k 2 q\r\nhello\r\n", b"ms k 2 q\r\nhell"),
    bad_and_gone(b"ms k 2 k O1\r\nhi\n\r\n", b"ms k 2 k O1\r\nhi\n\r"),
    bad_store(ms(K251, b"version"), b"ms %s 7\r\n" % K251),
    bad_store(ms(K251, b"version", b" q"), b"ms %s 7 q\r\n" % K251),
    bad_store(
        ms(b"k", b"version", b" a b c d e f g h i j k l m n o p q r"),
        b"ms k 7 a b c d e f g h i j k l m n o p q r\r\n"),
    Odd("late", b"ma none N0 J13 q\r\n", ms(b"none", b"13", b" q")),
    Odd("late", b"ma n O12345678901234567890123456789012\r\n",
        b"ma none O12345678901234567890123456789012\r\n"),
    Odd("strict", b"ms k 2 F4294967296\r\nhi\r\n",
        b"ms k 2 Fx\r\nhi\r\n"),
    Odd("strict", b"mg k\0b v\r\n", b"mg %s v\r\n" % K251),
    Odd("strict", b"ms k\0b 2\r\nhi\r\n", b"ms %s 2\r\n" % K251),
]

# The key comes back as this client wrote it, not as it was stored.
KEY_TALKS = [
    Talk("k of a key stored in base64", [
        Odd("key echo", ms(b"YmluMQ==", b"v", b" b"), ms(b"bin1", b"v"))],
        b"mg bin1 k v\r\nma bin1 k\r\n"),
    Talk("k in base64 of a plain key", [
        Odd("key echo", ms(b"bin1", b"5"), ms(b"YmluMQ==", b"5", b" b"))],
        b"mg YmluMQ== b k v\r\nmg YmluMQ== k b\r\nma YmluMQ== b k v\r\n"),
    Talk("k of a key set by text", [
        Odd("key echo", put(b"bin1", b"v"), ms(b"YmluMQ==", b"v", b" b q") +
            b"set x 0 0 1\r\nv\r\n")], b"mg YmluMQ== b k v f\r\n"),
]

META_TALKS = every(META_SETUP, META_LINES + META_STORES + META_ODD,
                   META_END) + \
    every(STALE_SETUP, STALE_LINES, STALE_END) + KEY_TALKS + [
    Talk("meta cas", ms(b"k", b"1", b" c") + b"mg k c\r\n",
         Later(lambda cas: ms(b"k", b"2", b" C%d c" % cas(0))),
         Later(lambda cas: ms(b"k", b"3", b" C%d c k O1" % cas(0))),
         Later(lambda cas: ms(b"k", b"4", b" MR C%d c" % cas(1))),
         Later(lambda cas: ms(b"k", b"5", b" MA C%d c" % cas(2))),
         Later(lambda cas: ms(b"k", b"6", b" MP C%d c" % cas(0))),
         Later(lambda cas: ms(b"k", b"6", b" ME C%d c" % cas(-1))),
         b"mg k v c\r\n",
         Later(lambda cas: b"ma k C%d v c\r\n" % cas(0)),
         Later(lambda cas: b"ma k C%d v c\r\n" % cas(-1)),
         Later(lambda cas: b"md k C%d\r\n" % cas(0)),
         Later(lambda cas: b"md k C%d q\r\n" % cas(-1)), b"mg k\r\n"),
    Talk("stale items", put(b"s", b"1") + b"md s I T30\r\n",
         b"mg s s c v\r\n", b"mg s s c v\r\nmg s t\r\n",
         Later(lambda cas: ms(b"s", b"2", b" C%d" % cas(-1))),
         b"mg s s c v t\r\n"),
    Talk("a stale item is replaced by an older one", put(b"s", b"1"),
         b"mg s c\r\n", b"md s I T30\r\n", b"mg s c t v\r\n",
         Later(lambda cas: ms(b"s", b"2", b" C%d I" % cas(0))),
         b"mg s c t v\r\n",
         Later(lambda cas: ms(b"s", b"3", b" C%d I" % (cas(-1) + 10000))),
         b"mg s v\r\n"),
    Talk("one of many wins", b"mg w N30 v c t\r\n" + b"mg w v c t N30\r\n" * 3,
         b"mg w s\r\n", Later(lambda cas: ms(b"w", b"1", b" C%d" % cas(0))),
         b"mg w s v N30\r\n"),
    Talk("one of many refreshes", put(b"e", b"1", exptime=b"20"),
         b"mg e R30 t v\r\n" * 3, b"mg e\r\nmg e R10\r\n",
         ms(b"e", b"2", b" T100") + b"mg e R30 t v\r\n"),
    Talk("hit and last access", put(b"k", b"1"), b"mg k h l t\r\n",
         b"mg k h l t\r\n", b"mg k u h\r\n", put(b"k", b"2"),
         b"mg k u h l\r\nmg k u h l\r\nmg k h l\r\nmg k h\r\n"),
    Talk("text sees what meta wrote", ms(b"k", b"v", b" F7 T100"),
         b"get k\r\ngets k\r\ntouch k 0\r\n", b"mg k t f v\r\n",
         b"delete k\r\nmg k\r\n", ms(b"n", b"5"), b"incr n 1\r\nma n v\r\n"),
    Talk("text marks an item as fetched", put(b"k", b"1") + b"get k\r\n",
         b"mg k h\r\n", put(b"j", b"1") + b"gets j\r\n", b"mg j h\r\n",
         put(b"i", b"1") + b"gat 100 i\r\n", b"mg i h t\r\n",
         put(b"t", b"1") + b"touch t 100\r\n", b"mg t h t\r\n",
         put(b"n", b"1") + b"incr n 1\r\n", b"mg n h t\r\n",
         put(b"p", b"1") + put(b"p", b"2", verb=b"append"), b"mg p h\r\n"),
    Talk("a base64 key has one home",
         ms(b"a2V5IHdpdGggc3BhY2U=", b"v", b" b F1"),
         b"mg a2V5IHdpdGggc3BhY2U= b k v f\r\nmd a2V5IHdpdGggc3BhY2U= b k\r\n"
         b"mg a2V5IHdpdGggc3BhY2U= b k v\r\n"),
]

# The binary protocol, by hand

FAIR, WRONG = 0xdeadbeef, BOGUS_CAS
BINARY_SETUP = binary.store("set", b"k", b"abc", 5) + \
    binary.store("set", b"n", b"10") + \
    binary.store("set", b"e", b"", 7, 100)
BINARY_END = b"".join(binary.request("getk", k, opaque=i) for i, k in
                      enumerate((b"k", b"n", b"e", b"none", b"a")))
BASE = ("set", "add", "replace", "append", "prepend", "delete", "incr",
        "decr", "flush", "get", "getk", "gat", "gatk", "touch")
QUIETED = [op for op in BASE if op != "touch"]
OTHER = ("noop", "version", "quit", "quitq")


def quiet(op):
    return {"gatk": "gatkq", "getk": "getkq"}.get(op, op + "q")


def plain(op, key, value=b"-new", exptime=0, cas=0, opaque=FAIR, initial=3):
    """One well-formed request of any opcode."""
    base = op[:-1] if op.endswith("q") else op
    if base in ("set", "add", "replace"):
        return binary.store(op, key, value, 9, exptime, cas=cas,
                            opaque=opaque)
    if base in ("append", "prepend"):
        return binary.request(op, key, value, cas=cas, opaque=opaque)
    if base in ("incr", "decr"):
        return binary.count(op, key, 1, initial, exptime, cas=cas,
                            opaque=opaque)
    if base in ("gat", "gatk", "touch"):
        return binary.touch(op, key, exptime, cas=cas, opaque=opaque)
    if base in ("flush", "noop", "version", "quit"):
        return binary.request(op, cas=cas, opaque=opaque)
    return binary.request(op, key, cas=cas, opaque=opaque)


ALL_OPS = list(BASE) + [quiet(op) for op in QUIETED]
BINARY_REQUESTS = [
    plain(op, key) for op in ALL_OPS for key in (b"k", b"n", b"a")] + [
    plain(op, key, cas=WRONG) for op in ALL_OPS for key in (b"k", b"n", b"a")
] + [plain(op, b"n", exptime=x) for x in (
    100, 2592000, 2592001, 0x7fffffff, binary.NEVER)
    for op in ("set", "incr", "decr", "gat", "touch")] + [
    plain(op, b"a", exptime=x) for x in (100, binary.NEVER)
    for op in ("incr", "decr", "incrq", "gat", "touch", "gatq")] + [
    plain(op, b"") for op in OTHER] + [
    # extras, keys and bodies where they do not belong
    binary.request(op, b"k", b"", x) for op in ALL_OPS
    for x in (b"", b"\0" * 4, b"\0" * 8, b"\0" * 20, b"\0" * 21)
    if op != "touch" or x] + [
    plain(op, b"") for op in ALL_OPS if "flush" not in op] + [
    plain(op, K250) for op in ALL_OPS if "flush" not in op] + [
    plain(op, K251) for op in ALL_OPS if "flush" not in op] + [
    binary.request(op, b"", b"x") for op in OTHER + ("flush",)] + [
    binary.request(op, b"k") for op in OTHER + ("flush",)] + [
    binary.request(op, b"", b"", b"\0" * 4) for op in OTHER] + [
    binary.request(op, b"k", b"body") for op in (
        "get", "getk", "getq", "getkq", "delete", "deleteq")] + [
    binary.count(op, b"n", delta, 7, 0) for op in ("incr", "decr")
    for delta in (0, 1, 11, 2 ** 64 - 1)] + [
    binary.count(op, b"a", 1, initial, 0) for op in ("incr", "incrq", "decr")
    for initial in (0, 13, 2 ** 64 - 1)] + [
    binary.count("incr", b"k"), binary.count("incr", b"e"),
    binary.count("decrq", b"k"), binary.touch("flush", b"", 0),
    binary.touch("flush", b"", 100), binary.touch("flushq", b"", 0),
    binary.touch("flush", b"", 1000000000), binary.request("stat"),
    binary.request("stat", b"settings"), binary.request("stat", b"bogus"),
    binary.request("stat", b"", b"", b"\0" * 4),
    binary.request("sasl_list"),
    binary.request("sasl_auth", b"PLAIN", b"\0u\0p"),
    binary.request("sasl_step", b"PLAIN", b"\0u\0p"),
    # lengths that lie, and what is no request
    binary.request("get", b"abc", keylen=4, bodylen=3),
    binary.request("set", b"abc", extlen=8, keylen=3, bodylen=10),
    binary.request("noop", magic=0), binary.request("noop", magic=0x81),
    plain("noop", b"") + b"\0" * 24, plain("noop", b"") + b"get k\r\n" * 4,
    binary.store("set", b"k", bytes(range(256)), 0xffffffff),
    binary.store("set", b"k", b""), binary.store("set", b"k\r\n\0 \xff", b"v")
    + binary.request("getk", b"k\r\n\0 \xff"),
    binary.store("set", b"k k", b"v") + binary.request("getkq", b"k k") +
    binary.request("delete", b"k k") + binary.request("getk", b"k k"),
    binary.store("set", b"\0" * 186, b"v") +
    binary.request("getk", b"\0" * 186),
    binary.store("set", b"k", b"x" * 1000000),
    binary.store("set", b"k", b"x" * BIG),
    binary.store("set", b"k", b"x" * 1500000),
    binary.store("setq", b"k", b"x" * 1500000),
    binary.store("add", b"a", b"x" * 1500000),
] + [plain(op, b"k", b"x" * 1500000) for op in (
    "add", "replace", "append", "prependq")] + [
    binary.request(op) for op in range(0x25, 0x100, 17)] + [
    binary.request(op, b"", b"hello") for op in range(0x25, 0x100, 17)]

BINARY_ODD = [
    # memcached takes as many bytes again as the key and the extras have
    Odd("bad stores", binary.request("verbosity", b"", b"", b"\0" * 4),
        binary.request("verbosity")),
    Odd("bad stores", binary.request(0x30, b"key"),
        binary.request(0x30)),
    Odd("bad stores", binary.request(0x30, b"key", b"value"),
        binary.request(0x30)),
    Odd("bad stores", binary.request("set", b"k", extlen=8, bodylen=1 << 31),
        binary.request("set", b"k")),
    Odd("bad stores",
        binary.request("addq", b"k", extlen=8, bodylen=0xffffffe8),
        binary.request("addq", b"k")),
    # memcached reads the value of what has none as a request
    Odd("bad stores", binary.request("touch", b"k", b"v", b"\0" * 4),
        binary.request("touch", b"k")),
    Odd("bad stores", binary.request("gatkq", b"k", b"x" * 24, b"\0" * 4),
        binary.request("gatkq", b"k")),
    Odd("not proxied", binary.request("sasl_list", b"k"),
        binary.request("sasl_list")),
    Odd("not proxied", binary.request("sasl_auth"),
        binary.request("sasl_auth", b"PLAIN")),
    Odd("not proxied", binary.request("sasl_auth", b"", b"abc"),
        binary.request("sasl_auth", b"PLAIN")),
]


# Smaller than kvproxy's limit, larger than the server's.
BINARY_TOO_LARGE = every(BINARY_SETUP, [
    Odd("too large", plain(op, b"k", b"x" * BIG),
        plain(op, b"k", b"x" * BIG) + plain("deleteq", b"k"))
    for op in ("add", "replace", "append", "prependq")], BINARY_END,
    binary=True)


def binary_cas(op, i, key=b"k", **kwargs):
    return Later(lambda cas: plain(op, key, cas=cas(i), **kwargs))


BINARY_TALKS = [
    *every(BINARY_SETUP, BINARY_REQUESTS + BINARY_ODD, BINARY_END,
           binary=True),
    Talk("binary cas", plain("set", b"k", b"1") + plain("get", b"k"),
         *[binary_cas(op, i) for op in (
             "set", "replace", "add", "append", "prepend", "incr", "setq",
             "appendq", "deleteq", "delete") for i in (0, -1)],
         plain("get", b"k"), binary=True),
    Talk("binary cas of a number", plain("set", b"n", b"1") +
         plain("get", b"n"), *[binary_cas(op, i, b"n") for op in (
             "incr", "decr", "incrq", "decrq") for i in (0, -1, -1)],
         plain("get", b"n"), binary=True),
    Talk("quiet ones in one burst", BINARY_SETUP, b"".join(
        plain(quiet(op), k, opaque=i) for i, k in enumerate((b"k", b"a"))
        for op in QUIETED if op != "flush") + plain("noop", b""),
        BINARY_END, binary=True),
    Talk("misses in silence", b"".join(
        plain(op, b"m%d" % i, opaque=i) for i in range(50)
        for op in ("getq", "getkq", "gatq", "gatkq")) +
        plain("noop", b""), binary=True),
    Talk("opaques in order", BINARY_SETUP, b"".join(
        plain(op, b"k", opaque=i * 0x01010101) for i, op in enumerate((
            "get", "getk", "getq", "noop", "version", "delete", "get", "set",
            "getkq", "incr", "append"))), binary=True),
    Talk("quitq says nothing", plain("set", b"k") + plain("quitq", b"") +
         plain("get", b"k"), binary=True),
    Talk("quit ends it", plain("set", b"k") + plain("quit", b"") +
         plain("get", b"k"), binary=True),
    Talk("flushq and then", BINARY_SETUP, plain("flushq", b"") +
         plain("get", b"k") + plain("set", b"k") + plain("get", b"k"),
         binary=True),
]

# By chance

KEYS = [b"a", b"b", b"c", b"num", K250]
EXPTIMES = [b"0", b"0", b"100", b"1000", b"-1", b"2592000", b"2592001",
            b"2147483647", b"2147483648", b"4294967396"]
BAD_NUMBERS = [b"abc", b"99999999999999999999", b"-", b"1x"]
DELTAS = [b"1", b"2", b"10", b"0", b"1000000000000"]
# Values are not of blanks alone, and counters stay below 2^63: there
# memcached's incr reads what is behind the value, whatever that is.
VALUES = [b"", b"1", b"99", b"v", b"\r\n.", b"12345", b"a b",
          b"\0\xff\r", b"END\r\n", b"x" * 100, b"7" * 30, b"y" * 5000]
NOISE = [b"bogus\r\n", b"\r\n", b" \r\n", b"get\r\n", b"incr a\r\n",
         b"touch a\r\n", b"delete\r\n", b"GET a\r\n", b"version\r\n",
         b"verbosity 0\r\n", b"gat 0\r\n", b"set a 0\r\n", b"mx a\r\n",
         b"flush_all x\r\n", b"delete a 5\r\n", b"shutdown\r\n"]


class Chance:
    """Makes the requests of one talk."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.pick = self.rng.choice

    def one_in(self, n):
        return self.rng.randrange(n) == 0

    def talk(self, name, makers, binary=False):
        """Requests by MAKERS, in turns of one to eight.  What needs a token
        begins a turn, and so does what memcached forgets others for."""
        turns = [[]]
        for _ in range(self.rng.randrange(8, 30)):
            made = self.pick(makers)()
            alone = isinstance(made, Later) or K251 in (
                made.ours if isinstance(made, Odd) else made)
            if turns[-1] and (alone or self.one_in(5)):
                turns.append([])
            turns[-1].append(made)
        return Talk(name, *turns, binary=binary)

    # text

    def noreply(self):
        return b" noreply" if self.one_in(5) else b""

    def number(self, good):
        return self.pick(BAD_NUMBERS) if self.one_in(15) else self.pick(good)

    def text_read(self):
        keys = [self.pick(KEYS) for _ in range(self.pick((1, 1, 2, 5)))]
        if self.one_in(40):
            keys.insert(0, K251)
        verb = self.pick((b"get", b"get", b"gets", b"gat", b"gats"))
        if verb.startswith(b"gat"):
            keys.insert(0, self.number(EXPTIMES))
        return verb + b" " + b" ".join(keys) + b"\r\n"

    def text_store(self):
        verb = self.pick((b"set", b"set", b"set", b"add", b"replace",
                          b"append", b"prepend", b"cas"))
        value, tail = self.pick(VALUES), self.noreply()
        flags = self.pick((b"0", b"1", b"4294967295"))
        exptime, key = self.pick(EXPTIMES), self.pick(KEYS)
        bad = self.one_in(12)
        if bad:
            flags, exptime, key = self.pick((
                (b"abc", exptime, key), (flags, b"1x", key),
                (flags, exptime, K251), (b"-1", exptime, K251)))
        line = b"%s %s %s %s %d" % (verb, key, flags, exptime, len(value))
        if verb == b"cas" and not bad:
            which = self.pick((-1, -1, 0))
            return Later(lambda cas: line + b" %d%s\r\n%s\r\n" % (
                cas(which), tail, value))
        line += (b" 1" if verb == b"cas" else b"") + tail + b"\r\n"
        ours = line + value + b"\r\n"
        return bad_store(ours, line) if bad else ours

    def text_other(self):
        key, tail = self.pick(KEYS), self.noreply()
        verb = self.pick((b"delete", b"incr", b"decr", b"touch", b"incr"))
        if verb == b"delete":
            return b"delete %s%s\r\n" % (key, tail)
        arg = self.number(EXPTIMES if verb == b"touch" else DELTAS)
        if self.one_in(2):
            key = b"num"
        return b"%s %s %s%s\r\n" % (verb, key, arg, tail)

    def text_noise(self):
        if self.one_in(20):
            return b"flush_all%s\r\n" % self.noreply()
        return self.pick(NOISE)

    # meta

    def meta_flags(self, flags, args):
        chosen = self.rng.sample(flags, self.rng.randrange(min(
            6, len(flags)) + 1))
        made = [f + self.pick(args.get(f, (b"",))) for f in chosen]
        if self.one_in(25):
            made.append(self.pick((b"E", b"!", b"Z", b"Tx", b"Cx", b"MXX",
                                   b"Dx", b"v", b"v", b"\xff")))
            made.insert(0, b"v")
        return made

    def meta_line(self, verb, flags, args):
        made = self.meta_flags(flags, args)
        key = self.pick(KEYS)
        makes = any(f[:1] == b"N" for f in made)
        if makes and verb == b"ma":
            made = [f for f in made if f != b"q"]
        elif not makes and self.one_in(4):
            # Not one of KEYS, nor one that a read makes, for memcached's k
            # brings a key as it was stored.
            key = self.pick((b"YWE=", b"YiBi", b"YwBj"))
            made.append(b"b")
        self.rng.shuffle(made)
        return b" ".join([verb, key] + made), made

    def meta_read(self, more=(b"N", b"R", b"T", b"h", b"l", b"u")):
        line, _ = self.meta_line(
            b"mg", [b"v", b"f", b"s", b"t", b"c", b"k", b"O", b"q"] +
            list(more), {
                b"O": (b"1", b"abc", b"x" * 31), b"N": (b"0", b"100", b"-1"),
                b"R": (b"50", b"1500"), b"T": (b"0", b"100", b"1000")})
        return line + b"\r\n"

    def meta_store(self):
        value = self.pick(VALUES)
        line, made = self.meta_line(
            b"ms", [b"q", b"k", b"O", b"c", b"F", b"T", b"M", b"I"], {
                b"O": (b"1", b"abc"), b"F": (b"0", b"5", b"4294967295"),
                b"T": (b"0", b"100", b"1000", b"-1"),
                b"M": (b"S", b"E", b"A", b"P", b"R", b"S", b"s", b"X")})
        words = line.split(b" ")
        head = b"%s %s %d" % (words[0], words[1], len(value))
        flags = b"".join(b" " + w for w in words[2:])
        tail = b"\r\n" + value + b"\r\n"
        if self.one_in(4) and not any(f[:1] == b"C" for f in made):
            which = self.pick((-1, -1, 0))
            return Later(lambda cas: head + b" C%d" % cas(which) + flags +
                         tail)
        return head + flags + tail

    def meta_delete(self, more=(b"I", b"T")):
        line, _ = self.meta_line(
            b"md", [b"q", b"k", b"O"] + list(more),
            {b"O": (b"1", b"abc"), b"T": (b"30", b"0")})
        return line + b"\r\n"

    def meta_count(self, more=(b"N", b"T")):
        line, _ = self.meta_line(
            b"ma", [b"q", b"k", b"O", b"v", b"c", b"t", b"D", b"J", b"M"] +
            list(more), {
                b"O": (b"1", b"abc"), b"D": DELTAS, b"J": DELTAS,
                b"N": (b"0", b"100"), b"T": (b"0", b"100", b"1000"),
                b"M": (b"I", b"D", b"+", b"-", b"X")})
        if self.one_in(2):
            words = line.split(b" ")
            if b"b" not in words:
                words[1] = b"num"
            line = b" ".join(words)
        return line + b"\r\n"

    # binary

    def binary_any(self):
        op = self.pick([op for op in ALL_OPS if "flush" not in op] +
                       ["set", "set", "get", "getk", "add", "noop"])
        key = self.pick(KEYS + [b"num"])
        kwargs = {"value": self.pick(VALUES),
                  "exptime": self.pick((0, 0, 100, 2592001, binary.NEVER)),
                  "initial": self.pick((0, 5, 10 ** 9)),
                  "opaque": self.rng.getrandbits(32)}
        if self.one_in(4):
            which = self.pick((-1, -1, 0))
            return Later(lambda cas: plain(op, key, cas=cas(which),
                                           **kwargs))
        return plain(op, key, **kwargs)

    def binary_noise(self):
        rng = self.rng
        return self.pick((
            plain("version", b"", opaque=7), plain("flush", b"", opaque=8),
            plain("flushq", b""), plain("noop", b"", opaque=9),
            binary.request(rng.randrange(0x25, 0x100), b"",
                           b"x" * rng.randrange(50)),
            binary.request("sasl_list", opaque=3),
            binary.request("stat", b"settings"),
            plain("quit", b"") if self.one_in(10) else plain("noop", b""),
            binary.request("get", b"a", b"x") if self.one_in(10)
            else plain("noop", b"")))


def by_chance(n):
    """4 N talks, the same ones every time, by kind."""
    text, meta, mixed, binaries = [], [], [], []
    for i in range(n):
        c = Chance("text %d" % i)
        text.append(c.talk("text by chance %d" % i, [
            c.text_read, c.text_read, c.text_store, c.text_store,
            c.text_other, c.text_noise]))
        c = Chance("meta %d" % i)
        meta.append(c.talk("meta by chance %d" % i, [
            c.meta_read, c.meta_read, c.meta_store, c.meta_store,
            c.meta_delete, c.meta_count]))
        # Without recache tokens: a classic get hands one back a little later.
        c = Chance("mixed %d" % i)
        mixed.append(c.talk("mixed by chance %d" % i, [
            lambda: c.meta_read((b"T", b"h", b"u")), c.meta_store,
            lambda: c.meta_delete((b"T",)), c.meta_count, c.text_read,
            c.text_store, c.text_other]))
        c = Chance("binary %d" % i)
        binaries.append(c.talk("binary by chance %d" % i, [
            c.binary_any, c.binary_any, c.binary_any, c.binary_noise],
            binary=True))
    return {"text by chance": text, "meta by chance": meta,
            "mixed by chance": mixed, "binary by chance": binaries}
