"""Master, workers and the people who start and stop them."""

import contextlib
import fcntl
import os
import random
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import termios
import threading
import time

import pytest

from harness import (ASAN, BUILD, SLACK, Blackhole, Client, Closed,
                     FakeBackend, Kvproxy, Memcached, free_port, freeze,
                     is_refused, thaw, wait_for)
from harness.daemon import PROGRAM, is_alive

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(HERE)
ORIGINAL = os.path.join(HERE, "original-kvproxy.ini")

STATUS = """
Number of processed requests [%d]
Number of requests failed [%d]
%sNumber of continuous requests failed [%d]
%sAll of offline hosts [%d]\x20
%sNumber of client connection [%d]
Number of backend connection [%d]
Read timeout of backend connection [%dms]
Size of async queue [0]

"""

# Of `stats workers`, some that clients move.
TOTALS = {"starts", "requests", "reads", "writes", "keys_read", "get_hits",
          "get_misses", "stored", "bytes_read", "bytes_written",
          "total_connections", "close_client"}


@pytest.fixture
def memcached():
    with Memcached() as m:
        yield m


def status_block(processed, failed, continuous, clients, backends,
                 timeout=5000, offline=()):
    """FAILED and CONTINUOUS: (host's name, number) in file order."""
    def lines(hosts):
        return "".join("  - %s [%d]\n" % host for host in hosts)

    return STATUS % (processed, sum(n for _, n in failed), lines(failed),
                     sum(n for _, n in continuous), lines(continuous),
                     len(offline),
                     "".join("  - %s [offline]\n" % name for name in offline),
                     clients, backends, timeout)


# The command line


def run(*args, **kwargs):
    return subprocess.run(list(args), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True, timeout=30, **kwargs)


def test_v_names_the_version():
    done = run(PROGRAM, "-v")
    assert done.returncode == 0 and done.stderr == ""
    assert re.fullmatch(r"kvproxy \d+\.\d+\.\d+.*\n", done.stdout)


def test_h_names_every_option():
    done = run(PROGRAM, "-h")
    assert done.returncode == 0 and done.stderr == ""
    for word in ["-c", "-d", "-t", "-p", "-v", "-h", "port", "thread_count",
                 "cpu_affinity", "recv_timeout", "server_connections",
                 "read_failure", "failover_interval", "sync_str"]:
        assert re.search(r"(^|\W)%s(\W|$)" % re.escape(word), done.stdout), \
            word


@pytest.mark.parametrize("args", [["-x"], ["surplus"], ["-c"]])
def test_an_unknown_argument_is_refused(args):
    done = run(PROGRAM, *args)
    assert done.returncode != 0 and done.stderr != ""


@pytest.mark.parametrize("core, service, key", [
    ({"colour": "blue"}, {}, "colour"),
    ({}, {"colour": "blue"}, "colour"),
    ({"thread_count": "many"}, {}, "thread_count"),
    ({"recv_timeout": "0"}, {}, "recv_timeout"),
    ({"recv_timeout": "-1"}, {}, "recv_timeout"),
    ({"recv_timeout": "99999999999999999999"}, {}, "recv_timeout"),
    ({"cpu_affinity": "maybe"}, {}, "cpu_affinity"),
    ({}, {"backend_proto": "sip"}, "backend_proto"),
    ({}, {"hosts": "nobody"}, "hosts"),
    ({}, {"extension": "none.so"}, "extension"),
], ids=lambda v: v if isinstance(v, str) else "")
def test_a_bad_configuration_is_one_line_that_names_the_place(core, service,
                                                              key):
    kv = Kvproxy([free_port()], core=core, service=service)
    with open(kv.ini) as f:
        line = [n for n, text in enumerate(f, 1)
                if text.startswith(key + "=")][-1]
    try:
        for args in ([], ["-t"], ["-d"]):
            done = kv.run(*args)
            assert done.returncode == 1
            said = done.stderr.strip()
            assert "\n" not in said and key in said, said
            if key != "extension":
                assert "%s:%d:" % (kv.ini, line) in said, said
        assert is_refused(kv.port)
    finally:
        shutil.rmtree(kv.folder)


def test_a_missing_file_is_named():
    done = run(PROGRAM, "-t", "-c", "/nonexistent/kvproxy.ini")
    assert done.returncode == 1 and "/nonexistent/kvproxy.ini" in done.stderr


def test_t_says_what_it_would_do():
    kv = Kvproxy([free_port()])
    try:
        done = kv.run("-t")
        assert done.returncode == 0, done.stderr
        assert str(kv.port) in done.stdout
        assert is_refused(kv.port) and not os.path.exists(kv.pid_file)
    finally:
        shutil.rmtree(kv.folder)


def test_F10_too_few_descriptors_are_refused():
    """It raises the soft limit by itself; the need covers what is in use."""
    def limited(soft, hard, *args):
        return kv.run(*args, preexec_fn=lambda: resource.setrlimit(
            resource.RLIMIT_NOFILE, (soft, hard)))

    with contextlib.ExitStack() as stack:
        fakes = [stack.enter_context(FakeBackend()) for _ in range(5)]
        kv = Kvproxy(fakes, core={"server_connections": 7}, workers=2)
        for args in ([], ["-d"], ["-t"]):
            done = limited(40, 40, *args)
            assert done.returncode == 1, done.stdout
            need = re.fullmatch(r"kvproxy: \S+: needs (\d+) descriptors, the "
                                r"limit is 40\n", done.stderr)
            assert need, done.stderr
        need = int(need.group(1))
        assert limited(need - 1, need - 1, "-t").returncode == 1
        assert limited(40, need, "-t").returncode == 0
        stack.enter_context(kv)
        for fake in fakes:
            wait_for(lambda: kv.backend(fake, "connected") == 7 * 2)
        for pid in [kv.pid] + kv.worker_pids():
            assert len(os.listdir("/proc/%d/fd" % pid)) <= need - 16


# Start and stop


def test_it_keeps_nothing_open_of_whoever_started_it(memcached):
    """A lock, say, or the pipe that a script reads to its end."""
    ours, its = os.pipe()
    os.set_inheritable(its, True)
    kv = Kvproxy([memcached])
    with subprocess.Popen([PROGRAM, "-d", "-c", kv.ini],
                          pass_fds=[its]) as starter:
        os.close(its)
        assert starter.wait() == 0
    try:
        os.set_blocking(ours, False)
        assert os.read(ours, 1) == b""	# else it would block
    finally:
        with open(kv.pid_file) as f:
            pid = int(f.read())
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: not is_alive(pid))
        os.close(ours)
        shutil.rmtree(kv.folder)


def test_it_stops_cleanly_on_both_signals(memcached):
    for sig in (signal.SIGTERM, signal.SIGINT):
        with Kvproxy([memcached], workers=2) as kv:
            with kv.client() as c:
                c.ask(b"get k\r\n", b"END\r\n")
                kv.stop(sig)
                assert c.eof() == b""
            assert is_refused(kv.port)


def test_the_pid_file_holds_the_masters_pid(memcached):
    with Kvproxy([memcached]) as kv:
        with open(kv.pid_file) as f:
            assert int(f.read()) == kv.pid


def test_workers_share_the_clients_and_a_signal_to_one_does_nothing(
        memcached):
    with Kvproxy([memcached], workers=2) as kv:
        clients = [kv.client() for _ in range(40)]
        for c in clients:
            c.ask(b"get k\r\n", b"END\r\n")
        share = [kv.slots()[i]["curr_connections"] for i in (0, 1)]
        assert sum(share) == 41 and min(share) > 0
        for pid in kv.worker_pids():
            for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP,
                        signal.SIGUSR1):
                os.kill(pid, sig)
        for c in clients:
            c.ask(b"get k\r\n", b"END\r\n")
            c.close()


def test_stop_answers_what_is_in_flight():
    gate = threading.Event()
    with FakeBackend(script=lambda conn, req: gate.wait(20) and None) \
            as fake, Kvproxy([fake]) as kv, kv.client() as busy, \
            kv.client() as idle:
        fake.store[b"k"] = b"v"
        busy.send(b"get k\r\nset j 0 0 1\r\nj\r\n")
        idle.ask(b"version\r\n", kv.version())
        wait_for(lambda: fake.requests)
        workers = kv.worker_pids()
        os.kill(kv.pid, signal.SIGTERM)
        idle.eof()	# the stop has reached the worker
        assert busy.is_quiet() and kv.proc.poll() is None
        gate.set()
        assert busy.eof() == b"VALUE k 0 1\r\nv\r\nEND\r\nSTORED\r\n"
        kv.wait_end()
        assert not any(map(is_alive, workers))
        assert fake.store[b"j"] == b"j"


def unacknowledged(sock):
    """Bytes that were sent and are not in the other side's socket."""
    return struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ,
                                          bytes(4)))[0]


@pytest.mark.parametrize("n, request_, reply", [
    (1, b"set k 0 0 600000\r\n%s\r\n" % (b"x" * 600000), b"STORED\r\n"),
    (300, b"set k 0 0 1000\r\n%s\r\n" % (b"x" * 1000), b"STORED\r\n"),
    (30000, b"get none\r\n", b"END\r\n")],
    ids=["a large set", "300 sets", "30000 gets"])
def test_stop_answers_all_that_had_come(memcached, n, request_, reply):
    """It is in the worker's socket when the order to stop comes, and the
    worker has read none of it."""
    warm = b"set k 0 0 1000000\r\n%s\r\n" % (b"x" * 1000000)
    with Kvproxy([memcached]) as kv, kv.client() as c:
        # So that the socket takes much at once.
        for _ in range(40):
            c.ask(warm, b"STORED\r\n")
        pid = kv.worker_pids()[0]
        freeze(pid)
        try:
            assert c.send_some(request_ * n) == len(request_) * n
            wait_for(lambda: unacknowledged(c.sock) == 0)
            os.kill(kv.pid, signal.SIGTERM)
            wait_for(lambda: "told to stop" in kv.logged())
        finally:
            thaw(pid)
        assert c.eof() == reply * n
        kv.wait_end()


def test_stop_does_not_call_an_idle_client_a_request_in_flight(memcached):
    """One that does not close its side, when all it asked for is answered."""
    with Kvproxy([memcached], core={"shutdown_timeout": 0.3}) as kv, \
            kv.client() as c:
        c.ask(b"get none\r\n", b"END\r\n")
        kv.stop()
        assert "in flight" not in kv.logged()
        assert c.eof() == b""


def test_stop_waits_no_longer_than_shutdown_timeout():
    with FakeBackend(script=lambda conn, req: b"") as fake, \
            Kvproxy([fake], core={"shutdown_timeout": 1,
                                  "recv_timeout": 60000}) as kv, \
            kv.client() as c:
        c.send(b"get k\r\n")
        wait_for(lambda: fake.requests)
        begin = time.monotonic()
        kv.stop()
        assert time.monotonic() - begin < 1 + SLACK
        left = c.eof()
        assert left == b"" or left.startswith(b"SERVER_ERROR ")


def test_a_second_SIGTERM_stops_at_once():
    with FakeBackend(script=lambda conn, req: b"") as fake, \
            Kvproxy([fake], core={"shutdown_timeout": 60,
                                  "recv_timeout": 60000}) as kv, \
            kv.client() as busy, kv.client() as idle:
        busy.send(b"get k\r\n")
        idle.ask(b"version\r\n", kv.version())
        wait_for(lambda: fake.requests)
        workers = kv.worker_pids()
        os.kill(kv.pid, signal.SIGTERM)
        idle.eof()
        os.kill(kv.pid, signal.SIGTERM)
        kv.proc.wait(SLACK)
        assert not any(map(is_alive, workers))
        assert is_refused(kv.port)
        kv.check_clean()


def segment_of(pid_file):
    """The shared segment's name: the FNV-1a of the pid file's."""
    h = 0xcbf29ce484222325
    for byte in os.path.realpath(pid_file).encode():
        h = (h ^ byte) * 0x100000001b3 % 2**64
    return "/dev/shm/kvproxy-%016x" % h


def test_SIGTERM_at_any_moment_of_the_start_ends_it(memcached):
    """And leaves nothing behind."""
    kv = Kvproxy([memcached], workers=2)
    try:
        for i in range(50):
            proc = subprocess.Popen([PROGRAM, "-c", kv.ini],
                                    stdin=subprocess.DEVNULL,
                                    stderr=subprocess.DEVNULL)
            time.sleep(i * (0.006 if ASAN else 0.002))
            proc.terminate()
            try:
                assert proc.wait(3 + SLACK) in (0, -signal.SIGTERM)
            finally:
                proc.kill()
            assert not os.path.exists(kv.pid_file)
            assert not os.path.exists(segment_of(kv.pid_file))
            assert is_refused(kv.port)
    finally:
        shutil.rmtree(kv.folder)


def test_a_signal_that_whoever_started_it_had_blocked_stops_it(memcached):
    kv = Kvproxy([memcached])
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        kv.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
    with contextlib.closing(kv.client()) as c:
        c.ask(b"get k\r\n", b"END\r\n")
    kv.stop()
    kv.__exit__(None)


def test_who_is_stopped_while_it_starts_a_daemon_leaves_none():
    """The host keeps the workers from serving for a while."""
    with Blackhole() as host:
        kv = Kvproxy([host])
        try:
            starter = subprocess.Popen([PROGRAM, "-d", "-c", kv.ini])
            wait_for(lambda: os.path.exists(kv.pid_file) and
                     os.path.getsize(kv.pid_file))
            with open(kv.pid_file) as f:
                pid = int(f.read())
            starter.terminate()
            assert starter.wait() == -signal.SIGTERM
            wait_for(lambda: not is_alive(pid), what="the daemon's end")
            assert not os.path.exists(kv.pid_file)
            assert not os.path.exists(segment_of(kv.pid_file))
        finally:
            shutil.rmtree(kv.folder)


def test_the_port_can_be_used_again_at_once(memcached):
    kv = Kvproxy([memcached], folder=None)
    try:
        for _ in range(5):
            kv.start()
            with kv.client() as c:
                c.ask(b"get k\r\n", b"END\r\n")
                kv.stop()
    finally:
        kv.__exit__(None)


# A second one


def test_P4_a_second_start_is_refused_and_names_the_first(memcached):
    with Kvproxy([memcached]) as kv, kv.client() as c:
        c.ask(b"get k\r\n", b"END\r\n")
        for args in ([], ["-d"]):
            done = kv.run(*args)
            assert done.returncode == 1
            assert re.search(r"\b%d\b" % kv.pid, done.stderr), done.stderr
        c.ask(b"get k\r\n", b"END\r\n")
        with open(kv.pid_file) as f:
            assert int(f.read()) == kv.pid


def test_P4_a_second_start_with_another_pid_file_is_refused(memcached):
    """SO_REUSEPORT would let both have the port."""
    with Kvproxy([memcached]) as kv, kv.client() as c:
        other = Kvproxy([memcached], port=kv.port)
        try:
            done = other.run()
            assert done.returncode == 1
            assert str(kv.port) in done.stderr, done.stderr
            assert not os.path.exists(other.pid_file) or \
                not open(other.pid_file).read().strip()
        finally:
            shutil.rmtree(other.folder)
        c.ask(b"get k\r\n", b"END\r\n")
        assert kv.all_workers() == kv.first_workers


def test_P4_a_start_leaves_alone_the_segment_of_who_lost_its_pid_file(
        memcached):
    with Kvproxy([memcached]) as kv:
        os.remove(kv.pid_file)
        other = Kvproxy([memcached], core={"pid_file": kv.pid_file})
        try:
            done = other.run()
            assert done.returncode == 1
            assert "in use by a running kvproxy (pid %d)" % kv.pid in \
                done.stderr
        finally:
            shutil.rmtree(other.folder)
        assert all(map(os.path.exists, kv.segments))


def test_a_port_of_another_program_is_refused(memcached):
    kv = Kvproxy([memcached], port=memcached.port)
    try:
        done = kv.run()
        assert done.returncode == 1
        assert str(memcached.port) in done.stderr
    finally:
        shutil.rmtree(kv.folder)


def test_P5_a_stale_pid_file_that_names_a_living_stranger(memcached):
    stranger = subprocess.Popen(["sleep", "1000"])
    try:
        kv = Kvproxy([memcached])
        with open(kv.pid_file, "w") as f:
            f.write("%d\n" % stranger.pid)
        with kv, kv.client() as c:
            c.ask(b"get k\r\n", b"END\r\n")
            with open(kv.pid_file) as f:
                assert int(f.read()) == kv.pid
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_start_after_a_kill_waits_for_the_port(memcached):
    """The workers of the dead one have it a moment longer."""
    kv = Kvproxy([memcached])
    with socket.socket() as last_worker:
        last_worker.bind(("", kv.port))
        last_worker.listen()
        done = kv.run()	# nobody was killed
        assert done.returncode == 1 and "already in use" in done.stderr
        with open(kv.pid_file, "w") as f:
            f.write("%d\n" % os.getpid())
        done = kv.run()	# it does not wait for ever
        assert done.returncode == 1 and "already in use" in done.stderr
        with open(kv.pid_file, "w") as f:
            f.write("%d\n" % os.getpid())
        os.remove(kv.log)

        def die():
            wait_for(lambda: os.path.exists(kv.log) and
                     "waiting, for a master was killed" in kv.said())
            last_worker.close()

        threading.Thread(target=die, daemon=True).start()
        with kv, kv.client() as c:
            c.ask(b"get k\r\n", b"END\r\n")


# Deaths


class Load(threading.Thread):
    """A client that sets and gets a key until it is told to stop, and connects
    again when it is closed: then with another key, for the last set that was
    not answered may be done late.  Replies that are wrong are errors."""

    def __init__(self, kv, n):
        super().__init__(daemon=True)
        self.kv, self.n = kv, n
        self.turns = self.closed = 0
        self.errors = []
        self.halt = threading.Event()

    def talk(self, c):
        key = b"key%d.%d" % (self.n, self.closed)
        while not self.halt.is_set():
            value = b"%d" % self.turns
            c.ask(b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value),
                  b"STORED\r\n")
            c.ask(b"get %s\r\n" % key, b"VALUE %s 0 %d\r\n%s\r\nEND\r\n" % (
                key, len(value), value))
            self.turns += 1

    def run(self):
        while not self.halt.is_set():
            try:
                with self.kv.client() as c:
                    self.talk(c)
            except (Closed, ConnectionResetError, BrokenPipeError):
                self.closed += 1
            except BaseException as e:	# a refused connection among them
                self.errors.append(e)
                return

    def stop(self):
        self.halt.set()
        self.join(20)


@contextlib.contextmanager
def load_on(kv, n):
    """N clients at work, and one who knocks all the time.  Gives the clients
    and the list of refusals."""
    loads, refused = [Load(kv, i) for i in range(n)], []
    halt = threading.Event()

    def knock():
        while not halt.is_set():
            try:
                Client(kv.port).close()
            except ConnectionRefusedError as e:
                refused.append(e)

    threads = loads + [threading.Thread(target=knock, daemon=True)]
    for thread in threads:
        thread.start()
    try:
        yield loads, refused
    finally:
        halt.set()
        for load in loads:
            load.stop()
        threads[-1].join(20)


def test_P1_SIGKILL_of_a_worker_under_load(memcached):
    """Nobody is refused, no client loses more than one connection, the
    worker is back at once, and no total has become less."""
    with Kvproxy([memcached], workers=2) as kv:
        kv.lose_workers = True
        with load_on(kv, 8) as (loads, refused):
            wait_for(lambda: all(load.turns > 20 for load in loads))
            for _ in range(3):
                victim = kv.worker_pids()[0]
                number = next(n for n, s in kv.slots().items()
                              if s["pid"] == victim)
                starts = kv.slots()[number]["starts"]
                requests = kv.stat("requests")
                closed = [load.closed for load in loads]
                begin = time.monotonic()
                os.kill(victim, signal.SIGKILL)
                wait_for(lambda: kv.slots()[number]["starts"] == starts + 1,
                         what="the respawn")
                assert time.monotonic() - begin < 0.1 + SLACK
                assert victim not in kv.worker_pids()
                assert kv.stat("requests") >= requests
                turns = [load.turns for load in loads]
                wait_for(lambda: all(load.turns > t + 20
                                     for load, t in zip(loads, turns)))
                lost = [load.closed - c for load, c in zip(loads, closed)]
                assert max(lost) <= 1, lost
        assert refused == []
        assert [load.errors for load in loads] == [[]] * 8
        # What a worker had counted when it died has not been lost: a turn is
        # two requests, and a connection that was lost left two at most.
        total = sum(2 * load.turns for load in loads)
        lost = sum(load.closed for load in loads)
        assert total <= kv.stat("requests") <= total + 2 * (lost + 8)
        wait_for(lambda: kv.stat("curr_connections") == 1)


def test_only_the_dead_workers_clients_are_closed(memcached):
    with Kvproxy([memcached], workers=2) as kv:
        kv.lose_workers = True
        clients = [kv.client() for _ in range(40)]
        for c in clients:
            c.ask(b"get k\r\n", b"END\r\n")
        kv.tick()
        slots = kv.slots()
        victim = slots[0]["pid"]
        kv.ctl.close()
        kv.ctl = None
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: victim not in kv.worker_pids() and kv.all_workers())
        alive = 0
        for c in clients:
            try:
                c.ask(b"get k\r\n", b"END\r\n")
                alive += 1
            except (Closed, ConnectionError):
                pass
            c.close()
        mine = alive - slots[1]["curr_connections"]
        assert mine in (0, -1)	# the control connection was one of them


def test_P2_a_worker_that_dies_again_and_again(memcached):
    """It comes back after pauses that grow, but not beyond 200 ms: so long
    new clients wait whom the kernel gives to the dead one's socket."""
    with Kvproxy([memcached], workers=2) as kv:
        kv.lose_workers = True
        for _ in range(20):
            begin = time.monotonic()
            pids = wait_for(kv.all_workers)	# the newest is the last
            os.kill(pids[-1], signal.SIGKILL)
            wait_for(lambda: pids[-1] not in kv.worker_pids())
            for _ in range(5):
                with kv.client() as c:
                    c.ask(b"get k\r\n", b"END\r\n")
            assert time.monotonic() - begin < 0.2 + SLACK
        # One that was just forked may not be counted yet.
        wait_for(kv.is_settled)
        assert sum(s["starts"] for s in kv.slots().values()) == 2 + 20
        # Who has lived a second is replaced at once.
        pauses = re.findall(r"next try in (\d+) ms", kv.logged())
        assert pauses[:3] == ["50", "100", "200"]
        assert len(pauses) >= 10 and set(pauses[3:]) <= {"50", "100", "200"}


def test_P2_new_clients_do_not_wait_for_a_worker_that_is_not_there(memcached):
    """The other one adopts its socket, until the next one has tried its
    backends: one of them keeps that from being soon."""
    def n_served():
        return len(re.findall(r"worker \d+ \(pid \d+\) serves", kv.logged()))

    with Blackhole() as hole, \
            Kvproxy([memcached, hole], workers=2) as kv:
        kv.lose_workers = True
        for victim in range(2):
            before = n_served()
            wait_for(kv.all_workers)
            os.kill(kv.slots()[victim]["pid"], signal.SIGKILL)
            clients = [kv.client() for _ in range(40)]
            for c in clients:
                c.ask_line(b"version\r\n")
            assert n_served() == before
            for c in clients:
                c.close()
            wait_for(lambda: n_served() == before + 1)
        # It has been given back: each has its share again.
        wait_for(lambda: kv.stat("curr_connections") == 1)
        clients = [kv.client() for _ in range(60)]
        for c in clients:
            c.ask_line(b"version\r\n")
        share = [kv.slots()[i]["curr_connections"] for i in (0, 1)]
        assert min(share) > 10, share


class Reader(threading.Thread):
    """Asks for all totals of all workers again and again, on new connections
    where the old ones are lost.  less: (name, total, the one before)."""

    def __init__(self, kv):
        super().__init__(daemon=True)
        self.kv = kv
        self.totals, self.less = {}, []
        self.n = self.slowest = 0
        self.trouble = None
        self.halt = threading.Event()

    def ask(self, c):
        c.send(b"stats workers\r\n")
        for line in c.recv_until(b"END\r\n").split(b"\r\n")[:-2]:
            name, value = line.decode().split()[1:]
            if name.split(":")[1] in TOTALS:
                if int(value) < self.totals.get(name, 0):
                    self.less.append((name, value, self.totals[name]))
                self.totals[name] = int(value)
        self.n += 1

    def run(self):
        c = None
        while not self.halt.is_set():
            begin = time.monotonic()
            try:
                c = c or self.kv.client()
                self.ask(c)
            except (Closed, ConnectionResetError, BrokenPipeError):
                c.close()
                c = None
            except BaseException as e:
                self.trouble = e
                return
            self.slowest = max(self.slowest, time.monotonic() - begin)
        if c is not None:
            c.close()


def test_P8_200_workers_are_killed_at_any_moment(memcached):
    """Whatever one of them was writing then, whoever reads is not held up and
    sees no total become less; and in the end no request is missing."""
    dice, killed = random.Random(8), []

    def living():
        return [pid for pid in kv.worker_pids() if pid not in killed]

    with Kvproxy([memcached], workers=8) as kv:
        kv.lose_workers = True
        reader = Reader(kv)
        reader.start()
        with load_on(kv, 4) as (loads, refused):
            for _ in range(200):
                time.sleep(dice.uniform(0, 0.03))	# the moment is the test
                wait_for(lambda: len(living()) > 4)
                killed.append(dice.choice(living()))
                os.kill(killed[-1], signal.SIGKILL)
            turns = [load.turns for load in loads]
            wait_for(lambda: all(load.turns > t + 20
                                 for load, t in zip(loads, turns)))
        reader.halt.set()
        reader.join(20)
        assert reader.trouble is None and reader.less == []
        assert reader.n > 200 and reader.slowest < 0.2 + SLACK
        assert refused == [] and [load.errors for load in loads] == [[]] * 4
        wait_for(kv.is_settled)
        total = sum(2 * load.turns for load in loads)
        lost = sum(load.closed for load in loads)
        assert total <= kv.stat("requests") <= total + 2 * (lost + 4)
        assert sum(s["starts"] for s in kv.slots().values()) == 208


def test_P3_SIGKILL_of_the_master(memcached):
    """Workers gone, port free; the next start finds nothing in its way."""
    kv = Kvproxy([memcached], workers=2)
    try:
        kv.start()
        with kv.client() as c:
            c.ask(b"get k\r\n", b"END\r\n")
            workers = kv.worker_pids()
            begin = time.monotonic()
            kv.proc.kill()
            kv.proc.wait()
            wait_for(lambda: is_refused(kv.port) and
                     not any(map(is_alive, workers)), timeout=0.5 + SLACK)
            assert time.monotonic() - begin < 0.5 + SLACK
            assert c.eof() == b""
        left = kv.segments
        kv.start()
        with kv.client() as c:
            c.ask(b"get k\r\n", b"END\r\n")
        kv.stop()
        assert not any(map(os.path.exists, left))
    finally:
        kv.__exit__(None)


# What a person sees


def test_status_byte_for_byte(memcached):
    with Kvproxy([memcached], workers=1) as kv:
        kv.wait_connected(memcached)
        none = [(memcached.name, 0)]
        assert kv.status() == status_block(0, none, none, 1, 1)
        with kv.client() as c:
            c.ask(b"set k 0 0 1\r\nv\r\nget k none other\r\ndelete k\r\n"
                  b"version\r\n", b"STORED\r\nVALUE k 0 1\r\nv\r\nEND\r\n"
                  b"DELETED\r\n" + kv.version())
            assert kv.status() == status_block(3, none, none, 2, 1)


def test_status_counts_failures_and_all_workers(memcached):
    dead = free_port()
    with Kvproxy([memcached, dead], workers=2,
                 core={"recv_timeout": 1500, "failover": "none"}) as kv, \
            kv.client() as c:
        kv.wait_connected(memcached)
        wait_for(lambda: kv.backend(dead, "state") == "out")
        clients = [kv.client() for _ in range(10)]
        names = [memcached.name, "127.0.0.1:%d" % dead]
        failed = 0
        for i in range(100):
            line = clients[i % 10].ask_line(b"get k%d\r\n" % i)
            failed += line.startswith(b"SERVER_ERROR ")
        assert 0 < failed < 100
        want = status_block(100, list(zip(names, [0, failed])),
                            list(zip(names, [0, failed])), 12, 2, 1500,
                            names[1:])
        wait_for(lambda: kv.status() == want, timeout=2, what=want)
        for other in clients:
            other.close()
        # status in pieces, and in a pipeline.
        c.send(b"sta")
        c.send(b"tus\r\nversion\r\nstatus\r\n")
        block = c.recv_until(b"queue [0]\n\n")
        assert block.startswith(b"\nNumber of processed requests [100]\n")
        c.expect(kv.version())
        assert c.recv_until(b"queue [0]\n\n").startswith(b"\nNumber of proc")


def test_a_host_that_answers_again_has_no_continuous_failures(memcached):
    with Kvproxy([memcached]) as kv, kv.client() as c:
        kv.wait_connected(memcached)
        memcached.kill()
        wait_for(lambda: kv.backend(memcached, "connected") == 0)
        for _ in range(3):
            assert c.ask_line(b"get k\r\n").startswith(b"SERVER_ERROR ")
        three = [(memcached.name, 3)]
        assert kv.status() == status_block(3, three, three, 2, 0)
        memcached.start()
        kv.wait_connected(memcached)
        c.ask(b"get k\r\n", b"END\r\n")
        assert kv.status() == status_block(4, three, [(memcached.name, 0)],
                                           2, 1)


def test_stats_of_workers_and_backends_add_up(memcached):
    with Kvproxy([memcached], workers=2) as kv:
        clients = [kv.client() for _ in range(20)]
        for c in clients:
            c.ask(b"get a b\r\n", b"END\r\n")
        stats, slots = kv.stats(), kv.slots()
        assert stats["requests"] == 20
        assert sum(s["requests"] for s in slots.values()) == 20
        assert sorted(s["pid"] for s in slots.values()) == \
            sorted(kv.worker_pids())
        assert all(s["starts"] == 1 for s in slots.values())
        assert kv.backend(memcached, "requests") == 40
        assert stats["threads"] == 2 and stats["server_connections"] == 2
        for c in clients:
            c.close()


# The control script


class Installation:
    """What make install makes, with a configuration of its own."""

    def __init__(self, folder, ini):
        self.prefix = str(folder)
        for name in ("bin/kvproxy", "ext/memcached.so", "sbin/kvproxy"):
            to = os.path.join(self.prefix, name)
            os.makedirs(os.path.dirname(to), mode=0o755, exist_ok=True)
            shutil.copy(os.path.join(BUILD, name), to)
        for name in ("etc", "log"):
            os.mkdir(os.path.join(self.prefix, name), 0o755)
        os.chmod(self.prefix, 0o755)
        self.ini = os.path.join(self.prefix, "etc/kvproxy.ini")
        with open(self.ini, "w", newline="") as f:
            f.write(ini)
        self.pid_file = os.path.join(self.prefix, "log/kvproxy.pid")

    def replace_program(self):
        """As make install does."""
        program = os.path.join(self.prefix, "bin/kvproxy")
        shutil.copy(PROGRAM, program + ".new")
        os.rename(program + ".new", program)

    def control(self, action):
        done = run(os.path.join(self.prefix, "sbin/kvproxy"), action,
                   cwd="/")
        return done.returncode, done.stdout + done.stderr

    def pid(self):
        with open(self.pid_file) as f:
            return int(f.read())


@pytest.fixture
def installed(tmp_path, memcached):
    """A function that makes an Installation; stopped at the end."""
    made = []

    def make(ini):
        made.append(Installation(tmp_path / "kvproxy", ini))
        return made[-1]

    (tmp_path / "kvproxy").mkdir()
    yield make
    for i in made:
        i.control("stop")


def plain_ini(port, memcached):
    return ("[kvproxy]\nport=%d\nthread_count=2\ncpu_affinity=off\n"
            "[memcached]\nextension=memcached.so\nhosts=group\n"
            '[group]\n%s="1:50"\n' % (port, memcached.name))


def test_the_control_script(installed, memcached):
    port = free_port()
    i = installed(plain_ini(port, memcached))
    assert i.control("status")[0] == 3
    assert i.control("stop")[0] == 0
    code, said = i.control("start")
    assert code == 0, said
    with Client(port) as c:	# it serves when start has returned
        c.ask(b"get k\r\n", b"END\r\n")
    pid = i.pid()
    assert is_alive(pid)
    code, said = i.control("status")
    assert code == 0 and str(pid) in said
    code, said = i.control("start")
    assert code == 0 and i.pid() == pid, said
    code, said = i.control("restart")
    assert code == 0 and i.pid() != pid, said
    wait_for(lambda: not is_alive(pid))
    pid = i.pid()
    with Client(port) as c:
        c.ask(b"get k\r\n", b"END\r\n")
    code, said = i.control("stop")
    assert code == 0, said
    wait_for(lambda: not is_alive(pid))
    assert is_refused(port)
    assert i.control("status")[0] == 3
    assert i.control("stop")[0] == 0
    assert i.control("dance")[0] == 2


def test_the_control_script_after_a_kill(installed, memcached):
    """A pid file that nobody holds: dead, whoever has that pid now."""
    port = free_port()
    i = installed(plain_ini(port, memcached))
    assert i.control("start")[0] == 0
    os.kill(i.pid(), signal.SIGKILL)
    wait_for(lambda: is_refused(port))
    assert i.control("status")[0] == 1
    with open(i.pid_file, "w") as f:
        f.write("%d\n" % os.getpid())
    assert i.control("status")[0] == 1
    assert i.control("stop")[0] == 0	# and this process lives
    code, said = i.control("start")
    assert code == 0, said
    assert i.control("status")[0] == 0


def test_the_control_script_takes_nobody_for_kvproxy_who_is_not(installed,
                                                                memcached):
    """Anybody who can read a pid file left behind can hold its lock."""
    i = installed(plain_ini(free_port(), memcached))
    with subprocess.Popen(["sleep", "1000"]) as stranger:
        try:
            with open(i.pid_file, "w+") as f:
                f.write("%d\n" % stranger.pid)
                f.flush()
                fcntl.flock(f, fcntl.LOCK_EX)
                assert i.control("status")[0] == 4
                assert i.control("stop")[0] == 4
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_the_control_script_stops_what_was_installed_before(installed,
                                                            memcached):
    i = installed(plain_ini(free_port(), memcached))
    assert i.control("start")[0] == 0
    pid = i.pid()
    i.replace_program()
    assert i.control("status")[0] == 0
    assert i.control("restart")[0] == 0
    wait_for(lambda: not is_alive(pid))
    assert i.control("status")[0] == 0


def test_the_control_script_checks(installed, memcached):
    i = installed(plain_ini(free_port(), memcached))
    code, said = i.control("configtest")
    assert code == 0 and i.ini in said
    assert i.control("start")[0] == 0
    pid = i.pid()
    with open(i.ini, "a") as f:
        f.write("[unfinished\n")
    for action in ("configtest", "restart"):
        code, said = i.control(action)
        assert code == 6 and i.ini + ":" in said
    assert i.pid() == pid and is_alive(pid)


def test_the_control_script_finds_a_prefix_with_a_blank(tmp_path, memcached):
    """Copied away, it knows the prefix that it was built for."""
    i = Installation(tmp_path / "a b", plain_ini(free_port(), memcached))
    copy = tmp_path / "init.d" / "kvproxy"
    copy.parent.mkdir()
    with open(os.path.join(SOURCE, "etc/kvproxy.init.in")) as f:
        copy.write_text(f.read().replace("@prefix@", i.prefix)
                        .replace("@inidir@", i.prefix + "/etc"))
    copy.chmod(0o755)
    done = run(str(copy), "configtest")
    assert done.returncode == 0 and i.ini in done.stdout, done.stderr


def test_the_control_script_with_a_bad_file(installed, memcached):
    i = installed(plain_ini(free_port(), memcached) + "[kvproxy2\n")
    code, said = i.control("start")
    assert code not in (0, 3), said
    assert "kvproxy.ini:" in said
    assert i.control("status")[0] == 3


def test_the_control_script_finds_what_runs_when_its_file_breaks(installed,
                                                                 memcached):
    """Also where names cannot be looked up: that may be why it is stopped."""
    port = free_port()
    i = installed("[kvproxy]\r\nPID_File = 'log/own.pid' ; ours\r\n" +
                  plain_ini(port, memcached).replace("[kvproxy]\n", ""))
    i.pid_file = os.path.join(i.prefix, "log/own.pid")
    code, said = i.control("start")
    assert code == 0, said
    pid = i.pid()
    for broken in ('nobody.invalid:11211 = "2:50"\n', "[unfinished\n",
                   "[kvproxy]\nport = none\n"):
        with open(i.ini, "a") as f:
            f.write(broken)
        code, said = i.control("status")
        assert code == 0 and str(pid) in said
        code, said = i.control("restart")
        assert code == 6 and i.ini in said and "keeps running" in said
        assert is_alive(pid)
    code, said = i.control("stop")
    assert code == 0 and "has stopped" in said
    wait_for(lambda: not is_alive(pid))
    assert is_refused(port)


def test_p_passes_over_what_is_wrong_in_the_file():
    kv = Kvproxy([free_port()], core={"ext_path": "/nowhere",
                                      "thread_count": "many", "what": "?"})
    try:
        done = kv.run("-p")
        assert done.returncode == 0 and done.stderr == ""
        assert done.stdout == ("pid_file = %s\nlog_path = %s\n"
                               "ext_path = /nowhere\nshutdown_timeout = 3\n"
                               % (kv.pid_file, kv.log))
        os.remove(kv.ini)
        done = kv.run("-p")
        assert done.returncode == 0
        assert "pid_file = %s/log/kvproxy.pid\n" % \
            os.path.realpath(BUILD) in done.stdout
    finally:
        shutil.rmtree(kv.folder)


# The original's own file


def test_the_originals_file_is_accepted_unchanged():
    done = run(PROGRAM, "-t", "-c", ORIGINAL)
    assert done.returncode == 0, done.stderr


def test_the_originals_file_serves(installed):
    """Text clients too, though it says proto=binary.  Its ports are changed
    where they are not free."""
    with open(ORIGINAL, encoding="utf-8") as f:
        ini = f.read()
    ports = {}
    for port in (55669, 11211):
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("", port))
                s.listen()
                ports[port] = port
            except OSError:
                ports[port] = free_port()
        ini = re.sub(r"^(.*[=:]|)%d\b" % port, r"\g<1>%d" % ports[port], ini,
                     flags=re.M)
    with Memcached(port=ports[11211]):
        i = installed(ini)
        code, said = i.control("start")
        assert code == 0, said
        with Client(ports[55669]) as c:
            c.ask(b"set +k 0 0 1\r\nv\r\nget +k\r\n",
                  b"STORED\r\nVALUE +k 0 1\r\nv\r\nEND\r\n")
            c.send(b"status\r\n")
            block = c.recv_until(b"async queue [0]\n\n").decode()
            name = "127.0.0.1:%d" % ports[11211]
            workers = len(os.sched_getaffinity(0))
            head = status_block(2, [(name, 0)], [(name, 0)], 1, workers, 100)
            assert re.sub(r"(backend connection) \[\d+\]$",
                          r"\1 [%d]" % workers, block, flags=re.M) == head
        code, said = i.control("stop")
        assert code == 0, said
        with open(os.path.join(i.prefix, "log/kvproxy.log")) as f:
            log = f.read()
        assert "not built" not in log
