"""The same conversations with memcached and, through kvproxy, with another:
byte for byte the same answers, but for the differences in FAMILIES.

A request that is meant to be answered differently is an Odd in
harness/talks.py, which says for each how memcached has to be asked so that
it answers as kvproxy does.  What differs in the answers themselves is taken
from both sides' here (Side.said).
"""

import base64
import random
import re

import pytest

from harness import Client, Closed, Kvproxy, Memcached, binary, talks

# Every intended difference.  The first three are seen in the replies, and
# taken from both sides'; text is where the test of it says; the others are
# Odds.
FAMILIES = {
    "own words": "what a server says of itself: the text behind memcached's "
                 "version, STAT lines, and VERBOSITY, unknown to memcached",
    "tokens": "each server counts its own CAS: the tokens are numbered in "
              "the order in which they appear",
    "clocks": "servers' seconds do not begin together: t is rounded up and l "
              "down to tens, and no talk's times to live are closer",
    "strict": "numbers are digits only, where strtol takes signs and blanks; "
              "client flags and the times of meta have 32 bits, keys in text "
              "no NUL, keys in base64 nothing else",
    "bad stores": "a bad storage line takes its value with it, and where the "
                  "length says nothing, or not the truth, the connection is "
                  "closed",
    "late": "what is wrong with a gat or ma is found before it changes "
            "anything, and q hides the success of an ma that makes a counter",
    "too large": "ms, whatever its mode, takes the old value with it where the "
                 "new one is too large; kvproxy's does so as a set alone, and "
                 "where it asks ms for binary clients it cannot help it",
    "not proxied": "of one server, or of its connections",
    "key echo": "k brings the key as this client wrote it, not as it was "
                "stored",
    "text": "a server that is asked in text cannot do all of meta and binary, "
            "and shows no CAS of what it stores",
}

MARK = b"version\r\n"	# its answer ends a turn's answers
MARKED = re.compile(rb"(?:^|\n)VERSION [^\r\n]*\r\n\Z")
NOOP = binary.request("noop", opaque=0xfeedbeef)
NOOPED = re.compile(rb"\x81\x0a.{10}\xfe\xed\xbe\xef.{8}\Z", re.S)
KINDS = dict({"text": talks.TEXT_TALKS, "meta": talks.META_TALKS,
              "binary": talks.BINARY_TALKS}, **talks.by_chance(60))
TALKS_A_TEST = 25
MAX_PIECES = 6

# The opcodes of what changes a value.
CHANGES = [binary.OPCODES[op + q] for q in ("", "q") for op in (
    "set", "add", "replace", "append", "prepend", "incr", "decr")]


class Side:
    """A conversation as one of the two sees it."""

    def __init__(self, port, talk, ask="ours", text=False, timeout=10):
        self.talk, self.ask, self.text = talk, ask, text
        self.tokens = []	# in the order in which they appeared
        self.replies = []
        self.mark, self.marked = (NOOP, NOOPED) if talk.binary \
            else (MARK, MARKED)
        self.client = Client(port, timeout=timeout)

    def token(self, i):
        return self.tokens[i] if -len(self.tokens) <= i < len(self.tokens) \
            else talks.BOGUS_CAS

    def render(self, request):
        if isinstance(request, talks.Odd):
            request = getattr(request, self.ask)
        if isinstance(request, talks.Later):
            request = request.make(self.token)
        return request

    def hold(self, send):
        """The whole of it, sent by SEND; returns the replies."""
        with self.client as c:
            for turn in self.talk.turns:
                data = b"".join(map(self.render, turn)) + self.mark
                if not send(c, data) or not self.read_turn(c):
                    self.said(c.eof())
                    self.replies.append("closed")
                    return self.replies
            c.shut_write()
            self.said(c.eof())
        return self.replies

    def read_turn(self, c):
        try:
            while not self.marked.search(c.buf):
                c._fill()
        except (Closed, ConnectionResetError):
            return False
        self.said(c._take(len(c.buf)))
        return True

    def said(self, data):
        if self.talk.binary:
            self.said_binary(data)
        else:
            self.said_ascii(data)

    def number(self, token):
        if token not in self.tokens:
            self.tokens.append(token)
        return self.tokens.index(token)

    def said_binary(self, data):
        found, rest = binary.parse(data)
        for r in found:
            if r.status == 0 and r.op == binary.OPCODES["version"]:
                r = r._replace(value=own_version(r.value))
            if r.status == 0 and r.op == binary.OPCODES["stat"] and r.key:
                continue
            if r.op == binary.OPCODES["verbosity"]:
                continue
            if self.text and r.op in CHANGES:
                # Only memcached itself shows one.
                r = r._replace(cas=0)
            if r.cas:
                r = r._replace(cas="token %d" % self.number(r.cas))
            self.replies.append(r)
        if rest:
            self.replies.append(rest)

    def said_ascii(self, data):
        while data:
            line, end, data = data.partition(b"\r\n")
            words = line.split(b" ")
            size = None
            if words[0] == b"VALUE" and len(words) in (4, 5):
                size = int(words[3])
                if len(words) == 5:
                    words[4] = b"token %d" % self.number(int(words[4]))
            elif words[0] in (b"VA", b"HD"):
                size = int(words[1]) if words[0] == b"VA" else None
                words = [self.meta_word(w) for w in words]
            elif words[0] == b"VERSION":
                words = [own_version(line)]
            elif words[0] == b"STAT":
                continue
            self.replies.append(b" ".join(words) + end)
            if size is not None:
                self.replies.append(data[:size + 2])
                data = data[size + 2:]

    def meta_word(self, word):
        if not word[1:].isdigit():
            return word
        if word[:1] == b"c":
            return b"ctoken %d" % self.number(int(word[1:]))
        if word[:1] == b"t":
            return b"t<=%d" % (-(-int(word[1:]) // 10) * 10)
        if word[:1] == b"l":
            return b"l>=%d" % (int(word[1:]) // 10 * 10)
        return word


def own_version(text):
    return re.sub(rb"1\.6\.18( kvproxy-\d+\.\d+\.\d+)?\Z", b"<own>", text)


def whole(c, data):
    return c.send_to_closing(data)


class Cuts:
    """Sends in a few pieces, cut anywhere, each seen before the next."""

    def __init__(self, kv, talk):
        self.kv = kv
        self.rng = random.Random("cuts of " + talk.name)

    def __call__(self, c, data):
        cuts = sorted(self.rng.randrange(1, len(data)) for _ in
                      range(self.rng.randrange(1, MAX_PIECES)))
        for begin, end in zip([0] + cuts, cuts + [len(data)]):
            if not c.send_to_closing(data[begin:end]):
                return False
            self.kv.tick()
        return True


@pytest.fixture(scope="module")
def reference():
    with Memcached() as m:
        yield m


@pytest.fixture(scope="module")
def memcached():
    with Memcached() as m:
        yield m


@pytest.fixture(scope="module")
def meta(memcached):
    with Kvproxy([memcached], service={"backend_proto": "meta"}) as kv:
        yield kv


@pytest.fixture(scope="module")
def text(memcached):
    with Kvproxy([memcached], service={"backend_proto": "text"}) as kv:
        yield kv


@pytest.fixture(scope="module")
def clear(reference, memcached):
    """Empties both servers."""
    with reference.client() as a, memcached.client() as b:
        def flush():
            for c in (a, b):
                c.ask(b"flush_all\r\n", b"OK\r\n")
        yield flush


# What can be said in text

BINARY_CAS = [binary.OPCODES[op + q] for op in (
    "append", "prepend", "incr", "decr", "delete") for q in ("", "q")]
META_LINE = re.compile(rb"^ *(m[gsda]) +(\S+) *([^\r\n]*)", re.M)
UNSAID = {b"mg": b"tlhNRu", b"ms": b"cI", b"md": b"CI", b"ma": b"ctTC"}


def is_sayable_line(verb, key, flags):
    letters = {f[:1] for f in flags}
    if verb == b"ms" and b"C" in letters and {b"MA", b"MP"} & set(flags):
        return False
    if b"b" in letters and re.search(rb"[ \0\n]", base64_decoded(key)):
        return False
    return not any(bytes([ch]) in letters for ch in UNSAID[verb])


def base64_decoded(key):
    try:
        return base64.b64decode(key)
    except ValueError:
        return b""


def is_sayable(talk):
    """Can a server that is asked in text do all of it?"""
    if not talk.binary:
        return all(is_sayable_line(verb, key, rest.split()[verb == b"ms":])
                   for verb, key, rest in META_LINE.findall(talk.bytes()))
    data = talk.bytes()
    while len(data) >= binary.HEADER.size:
        _, op, keylen, extlen, _, _, bodylen, _, cas = \
            binary.HEADER.unpack_from(data)
        key = data[binary.HEADER.size + extlen:][:keylen]
        if cas and op in BINARY_CAS or re.search(rb"[ \0\n]", key):
            return False
        data = data[binary.HEADER.size + bodylen:]
    return True


def in_parts(kinds):
    """Talks of one kind, a few a test."""
    parts, names = [], []
    for kind, some in kinds.items():
        for i in range(0, len(some), TALKS_A_TEST):
            parts.append(some[i:i + TALKS_A_TEST])
            names.append("%s %d-%d" % (kind, i, i + len(parts[-1]) - 1))
    return pytest.mark.parametrize("some", parts, ids=names)


def what_differs(kv, clear, reference, talk, **kwargs):
    """The first difference of each way to send it, in words."""
    clear()
    want = Side(reference.port, talk, "theirs", **kwargs).hold(whole)
    for way, send in ("whole", whole), ("cut", Cuts(kv, talk)):
        clear()
        got = Side(kv.port, talk, **kwargs).hold(send)
        if got == want:
            continue
        at = 0
        while got[at:at + 1] == want[at:at + 1]:
            at += 1
        yield "%s, %s: reply %d\n  is  %r\n  not %r" % (
            talk.name, way, at, got[at:at + 3], want[at:at + 3])


def compare(kv, clear, reference, some, **kwargs):
    wrong = [w for talk in some for w in
             what_differs(kv, clear, reference, talk, **kwargs)]
    assert not wrong, "\n".join(wrong)


@in_parts(dict(KINDS, **{"too large": talks.BINARY_TOO_LARGE}))
def test_with_a_server_asked_in_meta(meta, clear, reference, some):
    compare(meta, clear, reference, some)


@in_parts({kind: list(filter(is_sayable, some))
           for kind, some in KINDS.items()})
def test_with_a_server_asked_in_text(text, clear, reference, some):
    compare(text, clear, reference, some, text=True)


UNSAYABLE = [b"mg k %s\r\n" % f for f in (
    b"t", b"l", b"h v q", b"R30", b"N30", b"u k O5")] + [
    b"mg none t q\r\n", b"mg YiBi b v k\r\n", b"md k I\r\n",
    b"md k C1 q\r\n", b"ma k c\r\n", b"ma k t\r\n", b"ma k T0\r\n",
    b"ma k C1\r\n", talks.ms(b"YiBi", b"v", b" b")] + [
    talks.ms(b"k", b"v", f) for f in (b" c", b" C1 I", b" C1 MA",
                                      b" C1 MP q")]
BINARY_UNSAYABLE = [binary.request(op, b"a b") for op in (
    "get", "getkq", "delete")] + [binary.store("setq", b"a b", b"v")] + [
    talks.plain(op, b"k", cas=1) for op in (
        "append", "prependq", "incr", "decrq", "delete", "deleteq")]


def test_what_cannot_be_said_in_text_fails_and_changes_nothing(text, clear):
    clear()
    why = b"SERVER_ERROR %s cannot be asked this in its protocol\r\n" % \
        text.hosts[0].encode()
    with text.client() as c:
        c.ask(b"set k 0 0 1\r\n5\r\n", b"STORED\r\n")
        for request in UNSAYABLE:
            c.ask(request + b"get k\r\n",
                  why + b"VALUE k 0 1\r\n5\r\nEND\r\n")
    with text.client() as c:
        for request in BINARY_UNSAYABLE:
            c.send(request + binary.request("get", b"k"))
            reply = binary.recv(c)
            assert (reply.op, reply.status) == (request[1], 4)
            assert binary.recv(c).value == b"5"


def family_of(talk):
    """A talk has one intended difference at most."""
    found = {o.family for o in talk.odd()}
    assert len(found) <= 1 and found <= set(FAMILIES), talk.name
    return found.pop() if found else None


# Those by chance are of the same kinds as those by hand.
ODD_TALKS = [t for t in talks.TEXT_TALKS + talks.META_TALKS +
             talks.BINARY_TALKS + talks.BINARY_TOO_LARGE if t.odd()]


@pytest.mark.parametrize("family", sorted(set(map(family_of, ODD_TALKS))))
def test_every_intended_difference_is_one(reference, clear, family):
    """memcached itself answers kvproxy's question in another way, or waits
    for more of a value."""
    for talk in ODD_TALKS:
        if family_of(talk) != family:
            continue
        clear()
        want = Side(reference.port, talk, "theirs").hold(whole)
        clear()
        try:
            got = Side(reference.port, talk, timeout=0.2).hold(whole)
        except AssertionError:
            got = "nothing more"
        assert got != want, talk.name
