"""kvproxy itself, in the foreground, in a folder of its own.

The environment's KVPROXY_BUILD names the build tree (bin/kvproxy and
ext/memcached.so); without it, the current directory is taken.
"""

import contextlib
import glob
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading

from harness import moved
from harness.net import HOST, Client, Closed, free_port, wait_for

BUILD = os.path.abspath(os.environ.get("KVPROXY_BUILD", "."))
PROGRAM = os.path.join(BUILD, "bin", "kvproxy")
METRICS = "kvproxy-metrics"	# its process
SLACK = 2	# seconds that a bound on time is given on top


def _is_asan():
    try:
        with open(PROGRAM, "rb") as f:
            return b"__asan_init" in f.read()
    except FileNotFoundError:
        return False


ASAN = _is_asan()

REPORTS = re.compile(r"AddressSanitizer|LeakSanitizer|runtime error:|"
                     r"assertion|ASSERT", re.I)


def rss_bytes(pid):
    with open("/proc/%d/status" % pid) as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1)) * 1024


def cpu_seconds(pid):
    with open("/proc/%d/stat" % pid) as f:
        words = f.read().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def is_metrics(pid):
    """What it calls itself, or what it runs, while it does not yet do so."""
    try:
        with open("/proc/%d/comm" % pid) as f:
            if f.read().strip() == METRICS:
                return True
        return os.path.basename(os.readlink("/proc/%d/exe" % pid)) == METRICS
    except (FileNotFoundError, ProcessLookupError):
        return False


def is_alive(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def address(backend):
    """BACKEND's, as the file has it: of a port, or what has one."""
    if isinstance(backend, str):
        return backend
    return "%s:%d" % (HOST, getattr(backend, "port", backend))


class Kvproxy:
    """The daemon in front of BACKENDS: ports, objects that have one, or
    addresses.

    CORE and SERVICE are more lines of [kvproxy] and [memcached], as keyword
    arguments would be, MORE further sections.  BACKUP and READ are the hosts
    of hosts_backup and hosts_read.  Leaving the with block stops the daemon
    and checks that it went well: exit 0, no worker lost, no sanitizer's
    report, no shared segment left."""

    def __init__(self, backends, core=None, service=None, workers=1,
                 port=None, folder=None, program=PROGRAM, more=None,
                 backup=None, read=None):
        self.port = port or free_port()
        self.groups = {"group": backends}
        self.hosts = [address(b) for b in backends]
        if backup is not None:
            self.groups["backups"] = backup
        if read is not None:
            self.groups["readers"] = read
        self.workers = workers
        self.program = program
        self.more = more or {}
        self.own_folder = folder is None
        self.folder = folder or tempfile.mkdtemp(prefix="kvproxy-t-")
        self.ini = self.path("kvproxy.ini")
        self.pid_file = self.path("kvproxy.pid")
        self.log = self.path("kvproxy.log")
        self.stderr = self.path("stderr")
        self.env = {}
        self.preexec = None	# done in the child before it is kvproxy
        self.asserts = False	# it is made to fail an assertion
        self.lose_workers = False	# the test kills some itself
        self.proc = None
        self.segments = set()
        self.ctl = None
        self.ctl_lock = threading.Lock()
        self.write_ini(core or {}, service or {})

    def path(self, name):
        return os.path.join(self.folder, name)

    def write_ini(self, core, service):
        """The whole file at once, as whoever may be reading it needs it."""
        self.core, self.service = dict(core), dict(service)
        first = {"port": self.port, "thread_count": self.workers,
                 "cpu_affinity": "off", "recv_timeout": 5000,
                 "failover_interval": 0.2, "log_level": "info",
                 # One, so that a script knows which connection it plays.
                 "server_connections": 1,
                 "pid_file": self.pid_file, "log_path": self.log}
        first.update(core)
        second = {"extension": "memcached.so", "hosts": "group"}
        if "backups" in self.groups:
            second["hosts_backup"] = "backups"
        if "readers" in self.groups:
            second["hosts_read"] = "readers"
        second.update(service)
        with open(self.ini + ".new", "w") as f:
            for name, keys in (("kvproxy", first), ("memcached", second)):
                f.write("[%s]\n" % name)
                f.writelines("%s=%s\n" % kv for kv in keys.items())
            for name, backends in self.groups.items():
                f.write("[%s]\n" % name)
                f.writelines('%s="%d:50"\n' % (address(b), i + 1)
                             for i, b in enumerate(backends))
            for name, keys in self.more.items():
                f.write("[%s]\n" % name)
                f.writelines("%s=%s\n" % kv for kv in keys.items())
        os.replace(self.ini + ".new", self.ini)

    # Reload

    def change(self, core=None, service=None, workers=None, more=None,
               **groups):
        """Write the file anew, with what is given here on top of what it
        had; a group, option or section that is None is left out."""
        def given(old, new):
            both = dict(old, **(new or {}))
            return {k: v for k, v in both.items() if v is not None}

        self.workers = workers or self.workers
        self.more = given(self.more, more)
        self.groups = given(self.groups, groups)
        self.write_ini(given(self.core, core), given(self.service, service))

    def hup(self):
        os.kill(self.pid, signal.SIGHUP)

    def is_settled(self):
        """All workers that are to be there go by the configuration."""
        number = self.stat("reloads")
        slots = [s for s in self.slots().values() if s["pid"]]
        return len(slots) == self.workers and \
            all(s["reloads"] == number for s in slots) and \
            sorted(s["pid"] for s in slots) == sorted(self.worker_pids())

    def wait_reloaded(self, number):
        wait_for(lambda: self.stat("reloads") == number and self.is_settled(),
                 what="reload %d" % number)
        # The metrics' process, just forked, may still look like a worker.
        self.first_workers = wait_for(self.all_workers, what="the workers")

    def reload(self, **changes):
        """Until a file with CHANGES is in force everywhere."""
        number = self.stat("reloads") + 1
        if changes:
            self.change(**changes)
        self.hup()
        self.wait_reloaded(number)

    def reload_in_vain(self):
        """Until the file that is there was refused; the lines that say so."""
        before = self.stats()
        begin = len(self.logged())
        self.hup()
        wait_for(lambda: self.stat("reload_errors") ==
                 before["reload_errors"] + 1, 20, "the reload to be refused")
        assert self.stat("reloads") == before["reloads"]
        return self.logged()[begin:]

    def run(self, *args, **kwargs):
        """Run the program to its end, with this configuration."""
        return subprocess.run([self.program, "-c", self.ini] + list(args),
                              cwd=self.folder, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              universal_newlines=True, timeout=20,
                              env=self.environment(), **kwargs)

    def environment(self):
        # A dying worker's report must not depend on where stderr goes.
        options = "log_path=%s:quarantine_size_mb=16:disable_coredump=0" % \
            self.path("sanitizer")
        return dict(os.environ, **self.env, ASAN_OPTIONS=options, UBSAN_OPTIONS=options +
                    ":print_stacktrace=1:halt_on_error=1")

    def start(self):
        self.log_begin = os.path.getsize(self.log) \
            if os.path.exists(self.log) else 0
        with open(self.stderr, "ab") as err:
            self.proc = subprocess.Popen(
                [self.program, "-c", self.ini], cwd=self.folder,
                stdin=subprocess.DEVNULL, stdout=err, stderr=err,
                env=self.environment(), preexec_fn=self.preexec)
        wait_for(self.is_serving, what="kvproxy to serve")
        self.segments = self.mapped_segments()
        self.first_workers = wait_for(self.all_workers, what="the workers")
        return self

    def is_serving(self):
        assert self.proc.poll() is None, "kvproxy did not start\n" + \
            self.said()
        return "%d workers serve\n" % self.workers in self.logged()

    def logged(self):
        """The log since the last start."""
        try:
            with open(self.log, errors="replace") as f:
                f.seek(self.log_begin)
                return f.read()
        except FileNotFoundError:
            return ""

    @property
    def pid(self):
        return self.proc.pid

    def child_pids(self):
        with open("/proc/%d/task/%d/children" % (self.pid, self.pid)) as f:
            return [int(p) for p in f.read().split()]

    def worker_pids(self):
        """Its children but for those that serve metrics."""
        return [p for p in self.child_pids() if not is_metrics(p)]

    def metrics_pids(self):
        return [p for p in self.child_pids() if is_metrics(p)]

    def all_workers(self):
        pids = self.worker_pids()
        return pids if len(pids) == self.workers else None

    def mapped_segments(self):
        with open("/proc/%d/maps" % self.pid) as f:
            return set(re.findall(r"/dev/shm/kvproxy-\S+", f.read()))

    # What it says of itself

    def client(self, **kwargs):
        return Client(self.port, **kwargs)

    @contextlib.contextmanager
    def client_on_each(self):
        """A client of each worker, by its slot.  The kernel chooses whose a
        connection is, so there are made as many as it takes."""
        found = {}
        with contextlib.ExitStack() as stack:
            while len(found) < self.workers:
                before = self.slots()
                c = stack.enter_context(self.client())
                c.ask_line(b"version\r\n")
                now = self.slots()
                found.update((i, c) for i in now if now[i]["curr_connections"]
                             > before[i]["curr_connections"])
            yield found

    def control(self, ask):
        """ASK(client) on a connection that stays open between calls; the
        threads of fake backends may call this too."""
        with self.ctl_lock:
            if self.ctl is not None:
                try:
                    return ask(self.ctl)
                except (Closed, ConnectionError):
                    self.ctl.close()
            self.ctl = self.client()
            return ask(self.ctl)

    def tick(self):
        """Once around the loop of the (only) worker: what was sent to it
        before has been read when this returns."""
        return self.control(lambda c: c.ask_line(b"version\r\n"))

    def version(self):
        return self.tick()

    def stats(self, kind=""):
        """`stats` as a dict, numbers as int."""
        def ask(c):
            c.send(("stats %s" % kind).rstrip().encode() + b"\r\n")
            return c.recv_until(b"END\r\n")
        found = {}
        for line in self.control(ask).decode().split("\r\n"):
            words = line.split(" ", 2)
            if words[0] == "STAT":
                value = words[2] if len(words) > 2 else ""
                found[words[1]] = int(value) if value.isdigit() else value
        if kind in ("", "backends"):
            moved.note(found, kind != "")
        return found

    def stat(self, name):
        return self.stats()[name]

    def backend(self, backend, counter=None):
        """The counters of one backend, or one of them."""
        name = "%s:%d:" % (HOST, getattr(backend, "port", backend))
        found = {k[len(name):]: v for k, v in self.stats("backends").items()
                 if k.startswith(name)}
        return found[counter] if counter else found

    def slots(self):
        """`stats workers`: a dict for each slot."""
        found = {}
        for key, value in self.stats("workers").items():
            slot, name = key.split(":", 1)
            found.setdefault(int(slot), {})[name] = value
        return found

    def status(self):
        def ask(c):
            c.send(b"status\r\n")
            return c.recv_until(b"async queue [") + c.recv_until(b"]\n\n")
        return self.control(ask).decode()

    def state(self, backend):
        """up, rejoining or out."""
        return self.backend(backend, "state")

    def wait_state(self, backend, state, timeout=10):
        """Until it is so and all workers go by it."""
        wait_for(lambda: self.state(backend) == state, timeout,
                 "port %s to be %s" % (getattr(backend, "port", backend),
                                       state))
        new = self.stat("hosts_generation")
        wait_for(lambda: all(slot["hosts_generation"] >= new
                             for slot in self.slots().values()),
                 what="the workers to know")

    def offline(self):
        """The hosts that `status` lists as offline."""
        text = self.status()
        found = re.findall(r"^  - (\S+) \[offline\]$", text, re.M)
        assert "All of offline hosts [%d] \n" % len(found) in text, text
        return found

    def wait_connected(self, *backends):
        """Until every worker has a greeted connection to each of BACKENDS."""
        for b in backends:
            wait_for(lambda: self.backend(b, "connected") >= self.workers,
                     what="connections to port %s" % getattr(b, "port", b))

    def said(self):
        """Everything it wrote: log, stderr, sanitizers' reports."""
        text = ""
        for path in [self.log, self.stderr] + glob.glob(
                self.path("sanitizer.*")):
            if os.path.exists(path):
                with open(path, errors="replace") as f:
                    text += "--- %s\n%s" % (os.path.basename(path), f.read())
        return text

    # Its end

    def stop(self, sig=signal.SIGTERM, timeout=10):
        """Stop it by pid and check that it went well."""
        if self.ctl is not None:
            self.ctl.close()
            self.ctl = None
        children = self.child_pids()
        if not self.lose_workers:
            # A child that was just forked has no name yet.
            try:
                wait_for(lambda: self.worker_pids() == self.first_workers, 2)
            except AssertionError:
                raise AssertionError("lost a worker\n" + self.said())
        os.kill(self.pid, sig)
        self.wait_end(timeout)
        for pid in children:
            assert not is_alive(pid), "a child outlived its master"

    def wait_end(self, timeout=10):
        code = self.proc.wait(timeout)
        assert code == 0, "exit %d\n%s" % (code, self.said())
        self.check_clean()

    def check_clean(self):
        said = self.said()
        assert self.asserts or not REPORTS.search(said), said
        assert not glob.glob(self.path("sanitizer.*")), said
        left = [s for s in self.segments if os.path.exists(s)]
        assert not left, "segments left: %s" % left

    def kill(self):
        """SIGKILL the master, and wait until its children are gone too."""
        children = self.child_pids()
        self.proc.kill()
        self.proc.wait()
        wait_for(lambda: not any(map(is_alive, children)),
                 what="its children to go with their master")

    def __enter__(self):
        try:
            return self.start()
        except BaseException as e:
            self.__exit__(type(e))
            raise

    def __exit__(self, exc_type, *exc):
        try:
            if self.ctl is not None:
                self.ctl.close()
                self.ctl = None
            if exc_type is not None:
                print(self.said())
            elif self.proc.poll() is None:
                self.stop()
        finally:
            if self.proc is not None and self.proc.poll() is None:
                self.kill()
                for segment in self.segments:
                    os.unlink(segment)
            if self.own_folder:
                shutil.rmtree(self.folder, ignore_errors=True)
