"""Extensions that misbehave: what the worker believes, what it does not."""

import os
import shutil
import signal
import time

import pytest

from harness import (BUILD, SLACK, Client, Closed, FakeBackend, Kvproxy,
                     free_port, wait_for)

MIB = 1024 * 1024


class Hostile(Kvproxy):
    """A kvproxy with a second service, at hostile_port, whose extension is
    t/ext_hostile.c."""

    def __init__(self, backends, **kwargs):
        super().__init__(backends, **kwargs)
        self.hostile_port = free_port()
        for path in ("ext/memcached.so", "t/ext_hostile.so"):
            name = self.path(os.path.basename(path))
            shutil.copy(os.path.join(BUILD, path), name)
            os.chmod(name, 0o644)
        with open(self.ini) as f:
            lines = f.read()
        with open(self.ini, "w") as f:
            f.write(lines.replace("[kvproxy]\n", "[kvproxy]\next_path=%s\n" %
                                  self.folder, 1))
            f.write("[hostile]\nextension=ext_hostile.so\nhosts=group\n"
                    "port=%d\n" % self.hostile_port)

    def hostile(self):
        return Client(self.hostile_port)


def answers(client):
    try:
        client.ask(b"ok\n", b"OK\r\n")
        return True
    except (Closed, ConnectionError):
        return False


@pytest.mark.parametrize("fault, counter", [
    (b"negative", "close_bad"), (b"endless", "close_too_long")])
def test_X5_X8_a_client_that_cannot_be_followed_is_closed(fault, counter):
    with FakeBackend() as fake, Hostile([fake]) as kv, kv.hostile() as c, \
            kv.hostile() as other:
        c.send(b"ok\n" + fault + b"\nok\n")
        assert c.eof() == b"OK\r\n"
        c.close()
        wait_for(lambda: kv.stat(counter) == 1)
        assert answers(other)


def test_X6_a_request_that_never_ends_is_closed_at_the_bound():
    """The parser always wants a byte more; a value may have 1 MiB."""
    with FakeBackend() as fake, Hostile([fake]) as kv, kv.hostile() as c, \
            kv.hostile() as other:
        before = kv.stat("bytes_read")
        c.send(b"ok\n")
        c.send_to_closing(b"x" * (16 * MIB))
        assert c.eof() in (b"OK\r\n", b"")	# the rest may reset it
        wait_for(lambda: kv.stat("close_too_long") == 1)
        assert MIB < kv.stat("bytes_read") - before < 4 * MIB
        assert kv.stat("buffered_bytes") < 4 * MIB
        assert answers(other)


def test_X6_a_reply_that_never_ends_is_a_desync():
    with FakeBackend() as fake, Hostile([fake]) as kv, kv.hostile() as c:
        fake.script = lambda conn, req: \
            b"x" * (16 * MIB) if req.key == b"endless-line" else None
        c.ask(b"get endless-line\n", b"FAILED\r\n")
        c.ask(b"get good\n", b"OK\r\n")
        host = kv.backend(fake)
        assert host["desyncs"] == 1 and host["bytes_read"] < 4 * MIB


@pytest.mark.parametrize("fault", [
    b"negative", b"past-the-end", b"body-past-the-end", b"no-progress",
    b"endless"])
def test_X5_X7_X8_a_reply_that_cannot_be_is_a_desync(fault):
    """More than there is, a body outside of it, a need that has no end."""
    with FakeBackend() as fake, Hostile([fake]) as kv, kv.hostile() as c:
        c.ask(b"get good\n", b"OK\r\n")
        c.ask(b"get " + fault + b"\n", b"FAILED\r\n")
        c.ask(b"get good\n", b"OK\r\n")
        assert kv.backend(fake, "desyncs") == 1
        assert kv.stat("fail_protocol") == 1


def test_a_read_is_no_write_whatever_its_extension_calls_it():
    """ext_hostile's count as nothing: there are no hits, and nothing is
    stored."""
    with FakeBackend() as fake, Hostile([fake]) as kv, kv.hostile() as c:
        c.ask(b"get good\n" * 2, b"OK\r\n" * 2)
        stats = kv.stats()
        assert stats["requests"] == stats["reads"] == 2
        for name in ("writes", "stored", "not_stored", "cmd_get", "get_hits",
                     "get_misses", "cmd_set", "cmd_touch"):
            assert stats[name] == 0, name


def test_X14_more_replies_than_requests():
    """In a pipeline too each request has its one answer; what is left over
    ends the connection to the server."""
    with FakeBackend() as fake, Hostile([fake]) as kv, kv.hostile() as c, \
            kv.client() as other:
        fake.script = lambda conn, req: \
            b"one\r\nmore\r\n" if req.key == b"two" else None
        for n, request in enumerate((b"get two\n", b"get two\nget good\n",
                                     b"get two\nok\n"), 1):
            c.ask(request + b"ok\n", b"OK\r\n" * (request.count(b"\n") + 1))
            wait_for(lambda: kv.backend(fake, "desyncs") == n)
            c.ask(b"get good\n", b"OK\r\n")
            other.ask(b"get k\r\n", b"END\r\n")
        assert kv.stat("failed_requests") == 0


def test_X14_fewer_replies_than_requests():
    """What has no answer fails in its time, in its turn, and the connection
    on which it was missing is closed."""
    with FakeBackend() as fake, \
            Hostile([fake], core={"recv_timeout": 300}) as kv, \
            kv.hostile() as c:
        fake.script = lambda conn, req: b"" if req.key == b"none" else None
        c.ask(b"get good\nget none\nok\n", b"OK\r\nFAILED\r\nOK\r\n")
        wait_for(lambda: kv.backend(fake, "silences") == 1)
        # Both services have one.
        wait_for(lambda: kv.backend(fake, "connected") == 2)
        c.ask(b"get good\n", b"OK\r\n")
        assert kv.stat("fail_timeout") == 1


@pytest.mark.parametrize("fault", [
    b"past the end", b"no progress", b"key elsewhere", b"key past the end",
    b"no room", b"abort"])
def test_X4_X5_X7_X9_a_broken_extension_costs_its_worker_alone(fault):
    """What no sane extension does is not worked around: the worker dies, the
    others serve, and there is a new one."""
    with FakeBackend() as fake, Hostile([fake], workers=2) as kv:
        kv.lose_workers = kv.asserts = True
        clients = [kv.hostile() for _ in range(20)]
        assert all(answers(c) for c in clients)
        before = set(kv.worker_pids())
        clients[0].send(fault + b"\n")
        assert clients[0].eof() == b""
        wait_for(lambda: len(set(kv.worker_pids()) - before) == 1)
        assert len(before & set(kv.worker_pids())) == 1
        assert 0 < sum(answers(c) for c in clients[1:]) < 20
        wait_for(lambda: "killed by signal 6" in kv.logged())
        for c in clients:
            c.close()
        with kv.hostile() as c:
            assert answers(c)


def test_X10_an_endless_loop_costs_its_worker_alone():
    """The watchdog finds it; clients of the other worker notice nothing."""
    with FakeBackend() as fake, Hostile([fake], workers=2) as kv, \
            kv.client_on_each() as each:
        kv.lose_workers = True
        before = kv.slots()
        bad = kv.hostile()
        begin = time.monotonic()
        bad.send(b"loop\n")
        # Whose was it?  The other one's client is answered all the time.
        pids = {s["pid"] for s in before.values()}
        dead = wait_for(lambda: pids - set(kv.worker_pids()))
        assert 4 < time.monotonic() - begin < 5.5 + SLACK
        assert len(dead) == 1 and bad.eof() == b""
        wait_for(kv.all_workers)
        assert "(pid %d) hangs: killed" % dead.pop() in kv.logged()
        for _ in range(10):
            with kv.hostile() as c:
                assert answers(c)
        after = kv.slots()
        assert sorted(s["starts"] for s in after.values()) == [1, 2]
        alive, = [i for i in after if after[i]["starts"] == 1]
        each[alive].ask(b"get k\r\n", b"END\r\n")


def test_X11_another_file_under_the_name_needs_a_restart():
    """A reload says so, and the one that runs serves on."""
    with FakeBackend() as fake, Hostile([fake], workers=2) as kv, \
            kv.client() as c, kv.hostile() as h:
        name = kv.path("ext_hostile.so")
        with open(kv.ini) as f:
            line = f.read().split("\n").index("[hostile]") + 1
        for make in (lambda: shutil.copy(os.path.join(
                         BUILD, "ext/memcached.so"), name + ".new"),
                     lambda: open(name + ".new", "w").close()):
            make()
            os.rename(name + ".new", name)
            begin = len(kv.logged())
            kv.hup()
            kv.wait_reloaded(kv.stat("reloads") + 1)
            assert "%s:%d: [hostile] extension: ext_hostile.so is another " \
                "file now, which needs a restart" % (kv.ini, line) \
                in kv.logged()[begin:]
            assert answers(h)
            c.ask(b"get k\r\n", b"END\r\n")
        # One that is spawned now has what its master has.
        kv.lose_workers = True
        victim = kv.worker_pids()[0]
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: victim not in kv.worker_pids() and kv.all_workers())
        for _ in range(10):
            with kv.hostile() as d:
                assert answers(d)
