"""Tables of requests and their exact replies, and the ways to cut them."""

import re

CUT_MOST = 80	# requests up to this long are tried at every cut
PIECES = 150	# byte by byte, longer ones in about so many pieces


class Row:
    """INPUT brings exactly REPLY; then the connection works, or CLOSES.

    SAME: memcached 1.6.18 gives the same bytes.  SETUP is sent to the
    backend itself before, in text.  LEFT says what it has after: a value or
    None for a key.  Where the backend is asked in text, TEXT is the reply if
    it is another, and REFUSED is it where that cannot be: nothing changes
    then."""

    def __init__(self, name, input, reply, closes=False, same=True,
                 setup=b"", left=None, text=None, refused=None):
        self.name, self.input, self.reply = name, input, reply
        self.closes, self.same, self.setup = closes, same, setup
        self.left, self.text, self.refused = left or {}, text, refused

    def __repr__(self):
        return self.name

    def after(self, dialect):
        """The reply and what is left, where backends speak DIALECT."""
        if dialect == "meta" or (self.text is None and self.refused is None):
            return self.reply, self.left
        if self.refused is None:
            return self.text, self.left
        found = re.search(rb"set k \d+ \d+ \d+\r\n(.*)\r\n", self.setup)
        return self.refused, {b"k": found and found.group(1)}


class Table:
    """The rows of a protocol, sent and checked.

    ASK brings END and nothing else: what came before END is the reply.
    MARKS are bytes of replies that stand for a pattern.  CAS is the mark
    that in requests stands for the CAS of key `k`, written by PUT_CAS."""

    def __init__(self, rows, ask, end, marks, cas, put_cas):
        self.rows, self.ask, self.end = rows, ask, end
        self.marks, self.cas, self.put_cas = marks, cas, put_cas

    def pattern(self, reply):
        """REPLY as a regular expression."""
        parts = re.split(b"(%s)" % b"|".join(map(re.escape, self.marks)),
                         reply)
        return b"".join(self.marks.get(p) or re.escape(p) for p in parts)

    def prepare(self, direct, row):
        """Bring the backend into the row's state, past the proxy; the
        row's input with all that was not known before."""
        direct.send(b"flush_all\r\n" + row.setup + b"mn\r\n")
        said = direct.recv_until(b"MN\r\n")
        assert b"ERROR" not in said, said
        if self.cas not in row.input:
            return row.input
        words = direct.ask_line(b"mg k c\r\n").split()
        return row.input.replace(self.cas, self.put_cas(int(words[1][1:])))

    def check(self, direct, client, row, dialect):
        """CLIENT has sent the row's input: what comes, and what is left."""
        reply, left = row.after(dialect)
        if row.closes:
            got = client.eof()
        else:
            # Twice: nothing must come between.
            client.send(self.ask + self.ask)
            got = b"".join(client.recv_until(self.end)
                           for _ in range(reply.count(self.end) + 1))
            got = got[:-len(self.end)]
        assert re.fullmatch(self.pattern(reply), got, re.S), \
            "%r is not %r" % (got, reply)
        if not row.closes:
            client.expect(self.end)
        for key, value in left.items():
            direct.ask(b"mg %s v\r\n" % key, b"EN\r\n" if value is None else
                       b"VA %d\r\n%s\r\n" % (len(value), value))

    def check_row(self, direct, connect, row, dialect="meta", cuts=((),),
                  tick=None):
        """ROW, sent in the pieces of each of CUTS; TICK() makes the peer
        read what was sent."""
        for cut in cuts:
            data = self.prepare(direct, row)
            with connect() as c:
                send_cut(c, data, cut, tick)
                try:
                    self.check(direct, c, row, dialect)
                except AssertionError as e:
                    raise type(e)("cut at %s: %s" % (list(cut), e)) from None


def all_cuts(size):
    """Byte by byte, and at every place."""
    yield range(1, size, size // PIECES + 1)
    if size <= CUT_MOST:
        for at in range(1, size):
            yield (at,)


def send_cut(client, data, cut, tick):
    at = 0
    for end in cut:
        if not client.send_to_closing(data[at:end]):
            return
        tick()
        at = end
    client.send_to_closing(data[at:])
