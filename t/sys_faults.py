"""What goes wrong around it: files, logs, memory, clocks, other users."""

import contextlib
import glob
import os
import re
import resource
import shutil
import signal
import socket
import stat
import subprocess
import threading
import time

import pytest

from harness import (ASAN, SLACK, FakeBackend, Kvproxy, Memcached, free_port,
                     freeze, is_refused, thaw, wait_for)
from harness.daemon import PROGRAM, is_alive
from harness.text import FAIL, expect_failure, hit

NOBODY = 65534
FAKETIME = "/usr/lib/*/faketime/libfaketime.so.1"


@pytest.fixture
def memcached():
    with Memcached() as m:
        yield m


def fd_links(pid):
    """What is behind each descriptor of PID."""
    found = {}
    for fd in os.listdir("/proc/%d/fd" % pid):
        with contextlib.suppress(FileNotFoundError):
            found[int(fd)] = os.readlink("/proc/%d/fd/%s" % (pid, fd))
    return found


# Configuration


def spoil(path, how):
    with open(path) as f:
        text = f.read()
    os.remove(path)
    if how == "directory":
        os.mkdir(path)
    elif how == "FIFO":
        os.mkfifo(path)
    elif how != "missing":
        with open(path, "w") as f:
            f.write(text[:text.index('"1:50"') + 3] if how == "half" else
                    text.replace("[group]", "[group"))


@pytest.mark.parametrize("how, why", [
    ("syntax", r":\d+: no closing bracket"),
    ("half", r":\d+: \[group\] \S+: has no closing quote"),
    ("missing", ": No such file or directory"),
    ("directory", ": is a directory"),
    ("FIFO", ": is not a regular file")])
def test_F1_F2_F3_what_is_no_file_to_read_starts_nothing(how, why):
    """Half a file, as whoever writes it in place may show it, among them.
    (t/sys_reload.py has the reload of such.)"""
    kv = Kvproxy([free_port()])
    try:
        spoil(kv.ini, how)
        for args in ([], ["-d"], ["-t"]):
            done = kv.run(*args)
            assert done.returncode == 1
            assert re.fullmatch("kvproxy: " + re.escape(kv.ini) + why + "\n",
                                done.stderr), done.stderr
        assert is_refused(kv.port) and not os.path.exists(kv.pid_file)
    finally:
        shutil.rmtree(kv.folder)


@pytest.mark.parametrize("failover", ["rehash", "none"])
def test_F5_a_group_without_weights_answers_with_errors(failover):
    with FakeBackend() as fake:
        kv = Kvproxy([fake], core={"failover": failover})
        with open(kv.ini) as f:
            text = f.read()
        with open(kv.ini, "w") as f:
            f.write(text.replace('"1:50"', '"1:0"'))
        with kv, kv.client() as c:
            c.send(b"get k\r\nset k 0 0 7\r\nversion\r\nget a b\r\n"
                   b"incr k 1\r\n")
            for _ in range(4):
                expect_failure(c)
            c.ask(b"set k 0 0 1 noreply\r\nx\r\nversion\r\n", kv.version())
            assert kv.stat("fail_no_host") >= 5
            assert fake.requests == []


def test_F12_what_is_in_flight_keeps_its_time():
    """Keys of it that were not asked for yet go by the new file."""
    gate = threading.Event()
    with FakeBackend() as old, FakeBackend() as new:
        old.script = lambda conn, req: gate.wait(20) and None
        new.script = lambda conn, req: \
            req.key == b"late" and gate.wait(20) and None or None
        old.store.update({b"a": b"old", b"b": b"old", b"c": b"old"})
        new.store.update({b"a": b"new", b"b": b"new", b"c": b"new"})
        kv = Kvproxy([old], core={"client_window": 1, "recv_timeout": 10000})
        with kv, kv.client() as c1, kv.client() as c2, kv.client() as c3:
            kv.wait_connected(old)
            c1.send(b"get a b\r\n")
            c2.send(b"set c 0 0 1\r\nx\r\n")
            wait_for(lambda: kv.backend(old, "requests") == 2)
            kv.reload(group=[new], core={"recv_timeout": 200})
            wait_for(lambda: kv.backend(new, "connected") == 1)
            c3.ask(b"get a\r\n", hit(b"a", b"new"))
            # Time passes: more than the new file allows.
            c3.send(b"get late\r\n")
            expect_failure(c3, new)
            assert c1.is_quiet() and c2.is_quiet()
            gate.set()
            c1.expect(b"VALUE a 0 3\r\nold\r\n" + hit(b"b", b"new"))
            c2.expect(b"STORED\r\n")
            assert old.store[b"c"] == b"x" and new.store[b"c"] == b"new"
            for c in (c1, c2):
                c.ask(b"get a\r\n", hit(b"a", b"new"))
            assert old.conns[0].gone.wait(10)
            assert kv.stat("failed_requests") == 1


# The segment


def segment_of(kv):
    """The name that the pid file gives to it."""
    number = 14695981039346656037
    for byte in os.path.realpath(kv.pid_file).encode():
        number = (number ^ byte) * 1099511628211 % (1 << 64)
    return "/dev/shm/kvproxy-%016x" % number


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_P9_a_segment_of_another_user_is_in_the_way(memcached):
    """It is neither used nor removed, and who waits there learns nothing."""
    kv = Kvproxy([memcached])
    path = segment_of(kv)
    try:
        with open(path, "wb") as f:
            f.truncate(1 << 30)
        os.chmod(path, 0o666)
        os.chown(path, NOBODY, NOBODY)
        for args in ([], ["-d"]):
            done = kv.run(*args)
            assert done.returncode == 1
            assert done.stderr == "kvproxy: %s is in the way and not ours: " \
                "made by user %d\n" % (path, NOBODY)
        with open(path, "rb") as f:
            assert f.read(4096) == bytes(4096)
        assert is_refused(kv.port)
    finally:
        os.remove(path)
    with kv, kv.client() as c:
        assert kv.segments == {path}
        c.ask(b"get k\r\n", b"END\r\n")


@pytest.mark.parametrize("size", [0, 16, 4096, 1 << 30])
def test_P9_a_segment_that_is_spoilt_is_replaced(memcached, size):
    """What a start finds of its own user's, truncated or of another version,
    is stale, for it holds the pid file's lock."""
    kv = Kvproxy([memcached])
    path = segment_of(kv)
    with open(path, "wb") as f:
        f.write(b"kvproxy\0\xff\xff\xff\xff"[:size])
        f.truncate(size)
    with kv, kv.client() as c:
        assert kv.segments == {path}
        assert os.stat(path).st_mode == stat.S_IFREG | 0o600
        c.ask(b"get k\r\n", b"END\r\n")
        assert kv.stat("requests") == 1


# The log


class Mute(Kvproxy):
    """One whose log we cannot read; it serves when it answers.  All lines are
    wanted, so that there are many."""

    def __init__(self, backends, log_path, **kwargs):
        super().__init__(backends, core={"log_path": log_path,
                                         "log_level": "debug"}, **kwargs)

    def is_serving(self):
        assert self.proc.poll() is None, self.said()
        return not is_refused(self.port) and self.version()


def drop_lines(kv):
    """Clients come and go, and the log is opened again, until lines are lost
    of all workers and of the master; and all goes on."""
    def lost():
        os.kill(kv.pid, signal.SIGUSR1)
        with kv.client_on_each() as clients:
            for c in clients.values():
                c.ask(b"set k 0 0 1\r\nv\r\nget k\r\n",
                      b"STORED\r\n" + hit(b"k", b"v"))
        slots = [s["log_dropped"] for s in kv.slots().values()]
        return min(slots) > 0 and kv.stat("log_dropped") > sum(slots)

    wait_for(lost, 20, "lines to be lost")
    assert kv.all_workers() == kv.first_workers


def test_P14_a_log_on_a_full_device(memcached):
    with Mute([memcached], "/dev/full", workers=2) as kv:
        drop_lines(kv)


def test_P14_lines_that_the_master_loses_are_counted(memcached):
    """They are no worker's."""
    with Mute([memcached], "/dev/full", workers=2) as kv:
        with open(kv.ini) as f:
            good = f.read()
        with open(kv.ini, "w") as f:
            f.write("[bad")
        for n in range(1, 6):
            kv.hup()
            wait_for(lambda: kv.stat("reload_errors") == n)

        def lost():
            total = kv.stat("log_dropped")
            return total - sum(s["log_dropped"] for s in kv.slots().values())

        wait_for(lambda: lost() >= 5, what="what the master has lost")
        with open(kv.ini, "w") as f:
            f.write(good)


def test_P14_a_log_that_nobody_reads(memcached, tmp_path):
    """A FIFO: it is opened though there is no reader, and filled; a reader who
    comes gets whole lines, and one who goes disturbs nobody."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    kv = Mute([memcached], fifo, workers=2)

    def noisy():
        with kv.client() as c:
            c.ask_line(b"version\r\n")
        return kv.stat("log_dropped") > 0

    with kv:
        wait_for(noisy, 20)
        with open(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK), "rb") as f:
            for line in f.read(1 << 16).splitlines():
                assert re.match(rb"\d{4}-\d\d-\d\d [\d:.]+ \d+ \w+: .", line)
        with kv.client() as c:
            c.ask(b"get k\r\n", b"END\r\n")
        assert kv.all_workers() == kv.first_workers


def test_P14_a_log_on_a_disk_that_is_full(memcached, tmp_path):
    """A disk of its own, in a namespace that goes with it.  When there is room
    again, lines are written again."""
    disk, program = tmp_path / "disk", tmp_path / "kvproxy"
    disk.mkdir()
    program.write_text(
        "#!/bin/sh\nexec unshare -m%s sh -c 'mount -t tmpfs -o size=16k none "
        "%s && exec %s \"$@\"' sh \"$@\"\n" % (
            "" if os.getuid() == 0 else "r", disk, PROGRAM))
    program.chmod(0o755)
    with Mute([memcached], disk / "log", workers=2,
              program=str(program)) as kv:
        drop_lines(kv)
        log = "/proc/%d/root%s/log" % (kv.pid, disk)
        assert os.path.getsize(log) == 16384
        os.truncate(log, 0)

        def written():
            with kv.client() as c:
                c.ask_line(b"version\r\n")
            return os.path.getsize(log) > 0

        wait_for(written)


def pids_in(path):
    with open(path) as f:
        return {int(pid) for pid in re.findall(r"^\S+ \S+ (\d+) ", f.read(),
                                               re.M)}


def test_P14_a_log_that_is_moved_away_and_opened_again(memcached):
    """By all of them; where that fails, lines go where they went."""
    with Kvproxy([memcached], workers=2,
                 core={"log_level": "debug"}) as kv:
        everybody = {kv.pid} | set(kv.worker_pids())

        def all_write():
            with kv.client_on_each():
                pass
            return os.path.exists(kv.log) and pids_in(kv.log) >= everybody

        for n in range(2):
            old = "%s.%d" % (kv.log, n)
            os.rename(kv.log, old)
            os.kill(kv.pid, signal.SIGUSR1)
            wait_for(all_write)
            size = os.path.getsize(old)
            all_write()
            assert os.path.getsize(old) == size
        os.rename(kv.log, kv.log + ".last")
        os.mkdir(kv.log)
        os.kill(kv.pid, signal.SIGUSR1)
        with open(kv.log + ".last") as f:
            wait_for(lambda: "cannot be reopened: Is a directory" in f.read())
        os.rmdir(kv.log)
        with kv.client() as c:
            c.ask(b"get k\r\n", b"END\r\n")
        assert kv.stat("log_dropped") == 0


# Memory


def test_P16_no_memory_for_a_value():
    """RLIMIT_AS: who sends a large store is closed, and that is counted; no
    byte of it is a command; small stores are done; and with memory all is as
    before."""
    trap = (b"flush_all\r\n" * 100000)[:1000000]
    with Memcached() as m, Kvproxy([m]) as kv, kv.client() as c, \
            kv.client() as other:
        kv.wait_connected(m)
        pid, = kv.worker_pids()
        other.ask(b"set canary 0 0 1\r\nx\r\n", b"STORED\r\n")
        with open("/proc/%d/statm" % pid) as f:
            size = int(f.read().split()[0]) * resource.getpagesize()
        old = resource.prlimit(pid, resource.RLIMIT_AS,
                               (size + 300000, resource.RLIM_INFINITY))
        for n in range(3):
            with kv.client() as large:
                large.send_to_closing(b"set k 0 0 1000000\r\n" + trap +
                                      b"\r\n")
                assert large.eof() == b""
            assert kv.stat("close_memory") == n + 1
            other.ask(b"set small 0 0 1\r\ny\r\nget canary\r\n",
                      b"STORED\r\n" + hit(b"canary", b"x"))
        resource.prlimit(pid, resource.RLIMIT_AS, old)
        c.ask(b"set k 0 0 1000000\r\n" + trap + b"\r\n", b"STORED\r\n")
        c.ask(b"get k canary\r\n", b"VALUE k 0 1000000\r\n" + trap +
              b"\r\n" + hit(b"canary", b"x"))


# ASan itself needs the address space.
test_P16_no_memory_for_a_value.__test__ = not ASAN


# Time


class Clock:
    """The wall clock of KV, which can jump; the monotonic one does not.
    Used around it."""

    def __init__(self, kv):
        self.kv = kv
        library, = glob.glob(FAKETIME)
        if ASAN:	# which wants to be first
            asan, = re.findall(r"=> (\S*/libasan\S*)", subprocess.check_output(
                ["ldd", PROGRAM], universal_newlines=True))
            library = "%s %s" % (asan, library)
        self.path = kv.path("clock")
        self.jump(0)
        kv.env.update({
            "LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": self.path,
            "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1"})

    def jump(self, hours):
        with open(self.path + ".new", "w") as f:
            f.write("%+dh\n" % hours)
        os.rename(self.path + ".new", self.path)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        # What the library shares with children outlives one that is killed.
        for left in glob.glob("/dev/shm/*faketime_*_%d" % self.kv.pid):
            os.remove(left)


@pytest.mark.parametrize("hours", [1, -1])
def test_P18_the_clock_jumps_by_an_hour(hours):
    """Whatever waits goes on to wait for as long as it would have."""
    gates = {b"slow": threading.Event(), b"late": threading.Event()}
    with FakeBackend() as fake, FakeBackend() as backup:
        fake.store[b"slow"] = b"v"
        fake.script = lambda conn, req: \
            req.key in gates and gates[req.key].wait(20) and None or None
        kv = Kvproxy([fake], core={"recv_timeout": 1500, "idle_timeout": 600,
                                   "async_timeout": 600}, backup=[backup])
        with Clock(kv) as clock, kv, kv.client() as idle, \
                kv.client() as c1, kv.client() as c2:
            kv.wait_connected(fake, backup)
            idle.ask(b"get none\r\n", b"END\r\n")
            before = time.monotonic()
            uptime, now = kv.stat("uptime"), kv.stat("time")
            c2.send(b"get slow\r\n")
            wait_for(lambda: kv.backend(fake, "requests") == 2)
            c1.send(b"get late\r\n")
            wait_for(lambda: kv.backend(fake, "requests") == 3)
            clock.jump(hours)
            # It did jump, ...
            assert abs(kv.stat("time") - now - hours * 3600) < 60
            # ... but nothing is late because of it, ...
            gates[b"slow"].set()
            c2.expect(hit(b"slow", b"v"))
            expect_failure(c1, fake)
            # ... and nothing that is due never comes.
            assert 1 < time.monotonic() - before < 1.5 + SLACK
            gates[b"late"].set()
            c2.ask(b"set k 0 0 1\r\nx\r\n", b"STORED\r\n")
            wait_for(lambda: backup.store.get(b"k") == b"x")
            fake.stop()
            wait_for(lambda: kv.backend(fake, "connected") == 0)
            wait_for(lambda: c2.ask_line(b"get k\r\n").startswith(FAIL))
            clock.jump(-hours)
            with FakeBackend(port=fake.port):
                wait_for(lambda: kv.backend(fake, "connected") == 1,
                         timeout=2 + SLACK)
                idle.ask(b"get none\r\n", b"END\r\n")
            assert kv.stat("uptime") - uptime < 60
            assert kv.stat("close_idle") == 0
            assert kv.stat("copies_expired") == 0


# Descriptors, processes, files


def test_X15_no_descriptor_goes_to_a_program_that_is_started(memcached):
    """By an extension, say: that is not supported, and yields nothing."""
    kv = Kvproxy([memcached], workers=2)
    kv.lose_workers = True
    kv.change(core={"listen": "127.0.0.1:%d,%s" % (kv.port,
                                                   kv.path("socket"))})
    with kv, kv.client_on_each():
        kv.reload(workers=3)
        kv.reload(workers=2)
        os.kill(kv.worker_pids()[0], signal.SIGKILL)
        wait_for(lambda: kv.worker_pids() != kv.first_workers and
                 kv.is_settled())
        kv.wait_connected(memcached)
        for pid in [kv.pid] + kv.worker_pids():
            for fd, link in fd_links(pid).items():
                with open("/proc/%d/fdinfo/%d" % (pid, fd)) as f:
                    flags = int(re.search(r"flags:\s*(\d+)",
                                          f.read()).group(1), 8)
                assert fd <= 2 or flags & os.O_CLOEXEC, (fd, link)


def catch_check(kv):
    """Ask for a reload and stop the process that checks the file."""
    while True:
        workers = set(kv.worker_pids())
        n = kv.stat("reloads")
        os.kill(kv.pid, signal.SIGHUP)
        while kv.stat("reloads") == n:
            for pid in set(kv.worker_pids()) - workers:
                with contextlib.suppress(ProcessLookupError,
                                         FileNotFoundError, AssertionError):
                    freeze(pid)
                    return pid


def test_a_stop_removes_no_socket_file_that_was_given_up(memcached):
    """It may be another's by now."""
    kv = Kvproxy([memcached])
    path = kv.path("socket")
    kv.change(core={"listen": "127.0.0.1:%d %s" % (kv.port, path)})
    with kv, socket.socket(socket.AF_UNIX) as other:
        kv.reload(core={"listen": "127.0.0.1:%d" % kv.port})
        assert not os.path.exists(path)
        other.bind(path)
        other.listen()
        kv.stop()	# before the old one is closed for good
        assert os.path.exists(path)


def test_a_file_named_from_where_it_was_started_is_read_again(memcached):
    """In the background, whose folder is another."""
    kv = Kvproxy([memcached])
    try:
        done = subprocess.run([PROGRAM, "-d", "-c", "kvproxy.ini"],
                              cwd=kv.folder, env=kv.environment(), timeout=20)
        assert done.returncode == 0
        with open(kv.pid_file) as f:
            pid = int(f.read())
        try:
            kv.change(core={"recv_timeout": 1234})
            os.kill(pid, signal.SIGHUP)
            wait_for(lambda: "[1234ms]" in kv.status())
            kv.ctl.close()
        finally:
            os.kill(pid, signal.SIGTERM)
            wait_for(lambda: not is_alive(pid))
    finally:
        shutil.rmtree(kv.folder)


def test_a_stop_in_a_check_leaves_no_process(memcached):
    """The port is free when the master has ended, though the check had it
    too."""
    with Kvproxy([memcached]) as kv:
        kv.lose_workers = True
        check = catch_check(kv)
        assert check in kv.worker_pids()	# that is, the master's children
        kv.stop()
        assert not is_alive(check) and is_refused(kv.port)
