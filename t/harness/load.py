"""Clients that write and read all the time, and check what they read."""

import select
import threading
import time

from harness.net import Client

PACE = 0.002	# seconds between two rounds


class _Talker:
    """One connection with one request under way, and keys of its own."""

    def __init__(self, load, number, n_keys):
        self.client = Client(load.kv.port)
        self.client.sock.settimeout(20)
        self.keys = [b"%sc%dk%d" % (load.prefix, number, i)
                     for i in range(n_keys)]
        self.turn = 0
        self.request = None

    def next(self):
        """A write of each key and then a read of each, and so on."""
        key = self.keys[self.turn % len(self.keys)]
        reads = self.turn // len(self.keys) % 2
        self.turn += 1
        return key, bool(reads)


class Load:
    """N connections to KV.  Values are numbers that grow, so that a value
    older than the last one acknowledged can be told.

    errors: (time asked, time answered, key, line) of each that failed.
    stale: (time, key, what was read, what was acknowledged before).
    missed: how often a key that was written was not there.
    acked, sent: the last number that was stored, and that was tried."""

    def __init__(self, kv, n=20, n_keys=8, prefix=b"", pace=PACE):
        self.kv = kv
        self.prefix = prefix
        self.pace = pace
        self.errors, self.stale = [], []
        self.answers = self.missed = 0
        self.acked, self.sent = {}, {}
        self.trouble = None
        self.stopping = False
        self.number = 0
        self.talkers = [_Talker(self, i, n_keys) for i in range(n)]
        self.thread = threading.Thread(target=self._run, daemon=True)

    @property
    def keys(self):
        return [k for t in self.talkers for k in t.keys]

    def _ask(self, talker):
        key, is_read = talker.next()
        if is_read:
            data = b"get %s\r\n" % key
        else:
            self.number += 1
            value = b"%d" % self.number
            self.sent[key] = self.number
            data = b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value)
        talker.request = (time.monotonic(), key, is_read)
        talker.client.send(data)

    def _take(self, talker):
        begin, key, is_read = talker.request
        now = time.monotonic()
        line = talker.client.recv_line()
        self.answers += 1
        if line.startswith(b"SERVER_ERROR "):
            self.errors.append((begin, now, key, line))
        elif not is_read:
            assert line == b"STORED\r\n", line
            self.acked[key] = self.sent[key]
        elif line == b"END\r\n":
            self.missed += key in self.acked
        else:
            words = line.split()
            assert words[0] == b"VALUE" and words[1] == key, line
            value = int(talker.client.recv_line())
            talker.client.expect(b"END\r\n")
            if not self.acked.get(key, 0) <= value <= self.sent[key]:
                self.stale.append((now, key, value, self.acked.get(key)))

    def _run(self):
        try:
            by_fd = {t.client.sock.fileno(): t for t in self.talkers}
            poll = select.poll()
            for fd, t in by_fd.items():
                poll.register(fd, select.POLLIN)
                self._ask(t)
            waiting = set(by_fd)
            while waiting:
                for fd, _ in poll.poll(20000):
                    self._take(by_fd[fd])
                    if self.stopping:
                        waiting.discard(fd)
                        poll.unregister(fd)
                    else:
                        self._ask(by_fd[fd])
                time.sleep(self.pace)
        except BaseException as e:
            self.trouble = e

    def check(self):
        if self.trouble is not None:
            raise self.trouble

    def errors_since(self, begin):
        return [e for e in list(self.errors) if e[0] >= begin]

    def __enter__(self):
        self.thread.start()
        return self

    def stop(self):
        """Until all that was asked is answered."""
        self.stopping = True
        self.thread.join(30)
        assert not self.thread.is_alive(), "a request without an answer"
        self.check()

    def __exit__(self, exc_type, *exc):
        if exc_type is None:
            self.stop()
        self.stopping = True
        self.thread.join(5)
        for t in self.talkers:
            t.client.close()
