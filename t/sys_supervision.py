"""How the master keeps its workers: who hangs, as whom they run, what they
leave behind, where they write."""

import glob
import os
import random
import re
import resource
import signal
import stat
import subprocess
import threading
import time

import pytest

from harness import (SLACK, FakeBackend, Kvproxy, Memcached,
                     freeze, is_refused, thaw, wait_for)
from harness.daemon import PROGRAM, is_alive
from harness.text import hit

IS_ROOT = os.getuid() == 0
USER, UID, GID = "nobody", 65534, 65534
HANG = 10 * 0.5 + 0.5	# the watchdog's looks, and the one under way

needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root can be others")


@pytest.fixture
def memcached():
    with Memcached() as m:
        yield m


def pause(seconds):
    """Let time pass, where that is what is tested."""
    end = time.monotonic() + seconds
    wait_for(lambda: time.monotonic() > end, seconds + 10)


def proc_status(pid, key):
    with open("/proc/%d/status" % pid) as f:
        return re.search(r"^%s:\s*(.*)$" % key, f.read(), re.M).group(1).split()


def proc_limit(pid, name):
    """Soft and hard."""
    with open("/proc/%d/limits" % pid) as f:
        line, = [li for li in f if li.startswith(name)]
    return line[len(name):].split()[:2]


def children(pid):
    with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
        return [int(p) for p in f.read().split()]


#
# Who hangs.
#


def test_P10_a_worker_that_stands_still_is_replaced(memcached):
    """Clients of the other one notice nothing; it serves new ones long before
    that, and the clients that it had are closed."""
    with Kvproxy([memcached], workers=2) as kv, kv.client_on_each() as each:
        kv.lose_workers = True
        kv.tick()
        kv.ctl.close()
        kv.ctl = each[1]
        victim = kv.slots()[0]["pid"]
        begin = time.monotonic()
        freeze(victim)
        new = [kv.client() for _ in range(20)]
        for c in new:
            c.send(b"get k\r\n")
        for c in new:
            c.expect(b"END\r\n")
            c.close()
        assert victim in kv.worker_pids()
        while victim in kv.worker_pids():
            each[1].ask(b"get k\r\n", b"END\r\n")
            assert time.monotonic() - begin < HANG + SLACK
        assert time.monotonic() - begin > 4	# but not too soon
        assert each[0].eof() == b""
        wait_for(kv.all_workers)
        wait_for(lambda: kv.slots()[0]["starts"] == 2)
        assert "worker 0 (pid %d) hangs: killed" % victim in kv.logged()
        assert kv.slots()[1]["starts"] == 1
        kv.ctl = None


def test_a_machine_that_was_paused_kills_nobody(memcached):
    """The watchdog counts its own looks, not the time."""
    with Kvproxy([memcached], workers=2) as kv, kv.client() as c:
        pids = kv.worker_pids() + [kv.pid]
        for pid in pids:
            freeze(pid)
        pause(HANG + 1)
        for pid in pids:
            thaw(pid)
        c.ask(b"get k\r\n", b"END\r\n")
        pause(1)
        c.ask(b"get k\r\n", b"END\r\n")
        assert "hangs" not in kv.logged()


def test_a_worker_that_hangs_while_all_stop_is_killed(memcached):
    with Kvproxy([memcached], workers=2,
                 core={"shutdown_timeout": 0.2}) as kv:
        kv.lose_workers = True
        workers = kv.worker_pids()
        freeze(workers[0])
        begin = time.monotonic()
        os.kill(kv.pid, signal.SIGTERM)
        kv.wait_end()
        assert time.monotonic() - begin < 0.2 + 1 + SLACK
        assert not any(map(is_alive, workers))


def test_P10_a_worker_that_hangs_while_it_gives_its_clients_away(memcached):
    with Kvproxy([memcached], workers=2, core={"shutdown_timeout": 0.1},
                 service={"async_timeout": 0.1}) as kv, \
            kv.client_on_each() as each:
        kv.lose_workers = True
        kv.tick()
        kv.ctl.close()
        kv.ctl = each[0]
        victim = kv.slots()[1]["pid"]
        freeze(victim)
        kv.change(workers=1)
        kv.hup()
        wait_for(lambda: not is_alive(victim) and kv.is_settled())
        for _ in range(10):
            with kv.client() as c:
                c.ask(b"get k\r\n", b"END\r\n")
        kv.ctl = None


def test_five_hundred_hosts_that_fail_at_once_kill_no_worker(memcached):
    """Each changes the states, and the worker has much to do with each."""
    port = 1	# nobody listens
    hosts = ["127.1.%d.%d:%d" % (i // 200, i % 200 + 1, port)
             for i in range(500)]
    with Kvproxy([memcached], workers=2) as kv, kv.client() as c:
        kv.reload(group=[memcached] + hosts)
        wait_for(lambda: len(kv.offline()) == 500, 30)
        kv.reload(group=[memcached])
        c.ask(b"get k\r\n", b"END\r\n")
        assert kv.worker_pids() == kv.first_workers


#
# Signals.
#


def test_P6_fifty_SIGHUP_in_a_second(memcached):
    """The last file is in force; many of them are done as one."""
    with Kvproxy([memcached], workers=2) as kv, kv.client() as c:
        end = time.monotonic() + 1
        for i in range(50):
            kv.change(core={"recv_timeout": 1000 + i})
            kv.hup()
            c.ask(b"get k\r\n", b"END\r\n")
            wait_for(lambda: time.monotonic() > end - 1 + i * 0.02)
        wait_for(lambda: kv.stats("settings")["recv_timeout"] == 1049)
        wait_for(kv.is_settled)
        assert 1 <= kv.stat("reloads") <= 50
        before = kv.stat("reloads")
        for _ in range(200):
            kv.hup()
        pause(0.3)
        wait_for(kv.is_settled)
        assert before + 1 <= kv.stat("reloads") < before + 100
        assert kv.stat("reload_errors") == 0
        assert kv.worker_pids() == kv.first_workers


class Slow(FakeBackend):
    """Answers a request when it is told to."""

    def __init__(self):
        self.gate = threading.Event()
        super().__init__(script=lambda conn, req: self.gate.wait(20) and None)


def test_P6_SIGHUP_while_it_stops_does_nothing():
    with Slow() as slow, Kvproxy([slow], workers=2) as kv, kv.client() as c:
        c.send(b"set k 0 0 1\r\n1\r\n")
        wait_for(lambda: slow.requests)
        workers = kv.worker_pids()
        os.kill(kv.pid, signal.SIGTERM)
        wait_for(lambda: "told to stop" in kv.logged())
        kv.change(workers=4)
        for _ in range(20):
            kv.hup()
            assert set(children(kv.pid)) <= set(workers)
        slow.gate.set()
        assert c.eof() == b"STORED\r\n"
        kv.wait_end()
        assert "reloaded" not in kv.logged()


def test_P6_SIGTERM_while_it_reloads(memcached):
    """At any moment of it."""
    rand = random.Random(6)
    for i in range(20):
        with Kvproxy([memcached], workers=1 + i % 3) as kv:
            kv.lose_workers = True
            kv.change(workers=3 - i % 3)
            kv.hup()
            end = time.monotonic() + rand.random() * 0.03
            while time.monotonic() < end:
                pass
            os.kill(kv.pid, signal.SIGTERM)
            kv.wait_end()


def test_P6_SIGHUP_at_any_moment_of_the_start(memcached):
    """It is a death or a reload, as for any program, but leaves nothing
    behind."""
    n_served = 0
    for i in range(20):
        kv = Kvproxy([memcached])
        kv.log_begin = 0
        with open(kv.stderr, "ab") as err:
            kv.proc = subprocess.Popen([PROGRAM, "-c", kv.ini], stdout=err,
                                       stderr=err, env=kv.environment())
        pid = kv.proc.pid
        try:
            end = time.monotonic() + i * 0.002
            while time.monotonic() < end:
                pass
            kv.hup()
            wait_for(lambda: kv.proc.poll() is not None or
                     "workers serve" in kv.logged())
            if kv.proc.poll() is None:
                kv.hup()
                wait_for(lambda: "reloaded" in kv.logged())
                n_served += 1
                os.kill(pid, signal.SIGTERM)
                kv.wait_end()
            else:
                assert kv.proc.returncode == -signal.SIGHUP
            assert is_refused(kv.port)
        finally:
            kv.__exit__(None)
    assert n_served > 0


def test_P17_children_that_are_not_its_own(memcached):
    """They are reaped and ignored."""
    kv = Kvproxy([memcached], core={"log_level": "debug"})
    program = kv.path("program")
    with open(program, "w") as f:
        f.write("#!/bin/sh\nsh -c 'exit 3' &\nsleep 0.3 &\n"
                "exec %s \"$@\"\n" % PROGRAM)
    os.chmod(program, 0o755)
    kv.program = program
    with kv, kv.client() as c:
        wait_for(lambda: "a child that is no worker has ended" in kv.logged())
        wait_for(lambda: len(children(kv.pid)) == 1)
        kv.first_workers = kv.worker_pids()
        kv.reload()
        c.ask(b"get k\r\n", b"END\r\n")


def test_P19_a_reload_with_all_that_can_be_off(memcached):
    off = {"allow_flush": "off", "failover": "none", "failover_ttl": 0,
           "async_size": 0, "read_failure": "miss", "sync_str": "",
           "hosts_backup": "", "hosts_read": ""}
    with Kvproxy([memcached], service=off) as kv, kv.client() as c:
        kv.reload()
        c.ask(b"get k\r\n", b"END\r\n")
        kv.reload(service=dict.fromkeys(off))
        kv.reload(service=off)
        c.ask(b"set k 0 0 1\r\n1\r\n", b"STORED\r\n")


#
# As whom they run.
#


def as_nobody(kv):
    """Have KV be started by somebody who is not root."""
    def preexec():
        os.setgroups([])
        os.setgid(GID)
        os.setuid(UID)

    os.chmod(kv.folder, 0o755)
    os.chown(kv.folder, UID, GID)
    os.chown(kv.ini, UID, GID)
    kv.preexec = preexec
    return kv


def limit_processes(kv, n):
    """As KV's own user, for root may not have it all in a container."""
    subprocess.run(["prlimit", "--pid", str(kv.pid), "--nproc=%s:" % n],
                   preexec_fn=kv.preexec, check=True)


@needs_root
def test_P15_a_reload_that_cannot_fork_leaves_the_old_one(memcached):
    kv = as_nobody(Kvproxy([memcached], workers=2))
    with kv, kv.client() as c:
        assert proc_status(kv.pid, "Uid") == [str(UID)] * 4
        kv.change(workers=4)
        limit_processes(kv, 1)
        said = kv.reload_in_vain()
        assert "not reloaded: cannot start a process that checks it: " \
            "Resource temporarily unavailable" in said
        c.ask(b"get k\r\n", b"END\r\n")
        assert len(kv.worker_pids()) == 2
        limit_processes(kv, 1000)
        kv.reload()
        c.ask(b"get k\r\n", b"END\r\n")


@needs_root
def test_P15_a_worker_that_cannot_be_forked_is_forked_later(memcached):
    """The other one serves its sockets meanwhile."""
    kv = as_nobody(Kvproxy([memcached], workers=2))
    with kv:
        kv.lose_workers = True
        victim = kv.slots()[0]["pid"]
        limit_processes(kv, 1)
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: "worker 0 cannot be started: Resource temporarily "
                 "unavailable; next try in 200 ms" in kv.logged())
        for _ in range(20):
            with kv.client() as c:
                c.ask(b"get k\r\n", b"END\r\n")
        limit_processes(kv, 1000)
        wait_for(kv.all_workers)


@needs_root
def test_user_is_whom_the_workers_run_as(memcached):
    """Also those that come later; with them goes all that root may."""
    def check():
        for pid in wait_for(kv.all_workers):
            wait_for(lambda: proc_status(pid, "NoNewPrivs") == ["1"])
            assert proc_status(pid, "Uid") == [str(UID)] * 4
            assert proc_status(pid, "Gid") == [str(GID)] * 4
            assert proc_status(pid, "Groups") == [str(GID)]
            assert int(proc_status(pid, "CapEff")[0], 16) == 0
            assert int(proc_status(pid, "CapPrm")[0], 16) == 0
        assert proc_status(kv.pid, "Uid") == ["0"] * 4

    with Kvproxy([memcached], workers=2, core={"user": USER}) as kv, \
            kv.client() as c:
        check()
        kv.reload(workers=4)
        check()
        kv.lose_workers = True
        victim = kv.worker_pids()[-1]
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: victim not in kv.worker_pids() and kv.all_workers())
        check()
        with kv.client() as c:
            c.ask(b"get k\r\n", b"END\r\n")
        # They go with their master although setuid forgets who that was.
        workers = kv.worker_pids()
        for pid in workers:
            freeze(pid)
        kv.kill()
        assert not any(map(is_alive, workers))
        kv.start()


@needs_root
def test_user_owns_the_unix_sockets(memcached):
    """No: they are root's, with the mode that was asked for."""
    with Kvproxy([memcached], core={"user": USER}) as kv:
        path = kv.path("kv.sock")
        kv.reload(service={"listen": "127.0.0.1:%d %s" % (kv.port, path),
                           "listen_mode": "0666"})
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o666
        kv.stop()
        assert not os.path.exists(path)


@needs_root
def test_a_user_that_there_is_not_or_that_we_cannot_be_is_refused(memcached):
    kv = Kvproxy([memcached], core={"user": "no-such-user"})
    for args in ([], ["-d"]):
        done = kv.run(*args)
        assert done.returncode == 1
        assert 'user: there is no user "no-such-user"' in done.stderr
        assert done.stderr.count("\n") == 1
    kv.change(core={"user": "daemon"})
    as_nobody(kv)
    done = kv.run(preexec_fn=kv.preexec)
    assert done.returncode == 1
    assert 'user: only root can start workers of "daemon"' in done.stderr
    # One's own name is no change.
    kv.change(core={"user": USER})
    os.chown(kv.ini, UID, GID)
    with kv, kv.client() as c:
        c.ask(b"get k\r\n", b"END\r\n")


#
# What they leave behind.
#


def allow_cores():
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))


def test_workers_leave_no_core(memcached):
    kv = Kvproxy([memcached])
    kv.preexec = allow_cores
    with kv:
        kv.lose_workers = True
        pid, = kv.worker_pids()
        assert proc_limit(pid, "Max core file size") == ["0", "0"]
        os.kill(pid, signal.SIGABRT)
        wait_for(lambda: pid not in kv.worker_pids() and kv.all_workers())
        assert glob.glob(kv.path("core*")) == []
        wait_for(lambda: proc_limit(kv.worker_pids()[0],
                                    "Max core file size") == ["0", "0"])


@pytest.mark.parametrize("user", [None, pytest.param(USER, marks=needs_root)])
def test_core_dump_lets_workers_leave_cores(memcached, user):
    """Also when they have become somebody else, which Linux forbids by
    itself."""
    core = {"core_dump": "on"}
    if user:
        core["user"] = user
    kv = Kvproxy([memcached], core=core)
    kv.preexec = allow_cores
    if user:
        os.chmod(kv.folder, 0o777)
    with open("/proc/sys/kernel/core_pattern") as f:
        is_plain = f.read().strip() == "core"
    with kv:
        kv.lose_workers = True
        pid, = kv.worker_pids()
        assert proc_limit(pid, "Max core file size") == \
            proc_limit(kv.pid, "Max core file size")
        assert os.stat("/proc/%d/environ" % pid).st_uid == \
            (UID if user else os.getuid())
        has_room = proc_limit(pid, "Max core file size")[0] != "0"
        os.kill(pid, signal.SIGABRT)
        wait_for(lambda: pid not in kv.worker_pids() and kv.all_workers())
        if is_plain and has_room:
            assert glob.glob(kv.path("core*"))


#
# Where they write.
#


@pytest.mark.parametrize("user", [None, pytest.param(USER, marks=needs_root)])
def test_SIGUSR1_begins_a_new_log_in_all_processes(memcached, user):
    """In the way of logrotate: the file is renamed first."""
    def writers(text):
        return {int(li.split()[2]) for li in text.splitlines()}

    with Kvproxy([memcached], workers=2,
                 core={"user": user} if user else {}) as kv, \
            kv.client() as c:
        kv.wait_connected(memcached)
        old = kv.log + ".1"
        for _ in range(2):
            os.rename(kv.log, old)
            size = os.path.getsize(old)
            kv.log_begin = 0
            os.kill(kv.pid, signal.SIGUSR1)
            wait_for(lambda: "opened again" in kv.logged())
            with kv.client_on_each():	# who answers has read its order
                pass
            memcached.kill()
            memcached.start()
            wait_for(lambda: {kv.pid} | set(kv.worker_pids()) <=
                     writers(kv.logged()))
            with open(old) as f:
                f.seek(size)
                assert f.read() == ""
            kv.wait_connected(memcached)
            wait_for(lambda: kv.logged().count(": out, ") ==
                     kv.logged().count(": in again"))
        kv.reload(workers=3)
        wait_for(lambda: set(kv.worker_pids()) <= writers(kv.logged()))
        with open(old) as f:
            f.seek(size)
            assert f.read() == ""
        c.ask(b"get k\r\n", b"END\r\n")
        fds = [len(os.listdir("/proc/%d/fd" % pid))
               for pid in [kv.pid] + kv.worker_pids()]
        for _ in range(20):
            os.kill(kv.pid, signal.SIGUSR1)
        kv.reload()
        assert [len(os.listdir("/proc/%d/fd" % pid))
                for pid in [kv.pid] + kv.worker_pids()] == fds


def test_a_log_that_cannot_be_opened_again_goes_on(memcached):
    with Kvproxy([memcached]) as kv, kv.client() as c:
        os.mkdir(kv.path("logs"))
        os.rename(kv.log, kv.path("old"))
        os.mkdir(kv.log)
        os.kill(kv.pid, signal.SIGUSR1)
        wait_for(lambda: "cannot be reopened" in open(kv.path("old")).read())
        os.rmdir(kv.log)
        kv.hup()
        wait_for(lambda: "reloaded" in open(kv.path("old")).read())
        c.ask(b"get k\r\n", b"END\r\n")


class Mute(Kvproxy):
    """A kvproxy whose log nobody can read."""

    def is_serving(self):
        assert self.proc.poll() is None, self.said()
        return not is_refused(self.port)


def test_P14_a_log_on_a_full_disk_stops_nothing(memcached):
    with Mute([memcached], workers=2, core={"log_path": "/dev/full",
                                            "log_level": "debug"}) as kv, \
            kv.client() as c:
        c.ask(b"set k 0 0 1\r\n1\r\n", b"STORED\r\n")
        os.kill(kv.pid, signal.SIGUSR1)
        kv.reload(workers=3)
        kv.reload(workers=1)
        c.ask(b"get k\r\n", hit(b"k", b"1"))
