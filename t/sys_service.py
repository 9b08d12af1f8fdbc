"""kvproxy as a service: systemd, logrotate, and what the control script does
for them.  (t/package.sh has the Debian package.)"""

import os
import re
import shutil
import signal
import socket
import subprocess

import pytest

from harness import BUILD, Kvproxy, Memcached, free_port, is_refused, wait_for
from harness.daemon import PROGRAM, is_alive
from sys_process import Installation, plain_ini, run


@pytest.fixture
def memcached():
    with Memcached() as m:
        yield m


@pytest.fixture
def service(tmp_path, memcached):
    """An Installation that is not started; stopped at the end."""
    ini = plain_ini(free_port(), memcached)
    folder = tmp_path / "kvproxy"
    folder.mkdir()
    i = Installation(folder, ini.replace("[kvproxy]\n",
                                         "[kvproxy]\nlog_level=info\n"))
    yield i
    i.control("stop")


def logged(service):
    with open(os.path.join(service.prefix, "log/kvproxy.log")) as f:
        return f.read()


def n_hups(service):
    """How often SIGHUP has come to the master."""
    return len(re.findall(r"SIGHUP|: reloaded ", logged(service)))


def is_down(service):
    with open(service.ini) as f:
        port = re.search(r"^port=(\d+)", f.read(), re.M).group(1)
    return is_refused(int(port))


def break_file(service):
    with open(service.ini, "a") as f:
        f.write("[unfinished\n")


def built_for(service, name):
    """File NAME, as it would have been made for SERVICE."""
    with open(os.path.join(BUILD, "Makefile")) as f:
        prefix = re.search(r"^prefix = (\S+)$", f.read(), re.M).group(1)
    with open(os.path.join(BUILD, name)) as f:
        text = f.read().replace(prefix, service.prefix)
    assert not re.search(r"@\w+@", text), text
    assert service.prefix in text
    to = os.path.join(service.prefix, name)
    with open(to, "w") as f:
        f.write(text)
    return to


# The control script


@pytest.mark.parametrize("action", ["reload", "force-reload"])
def test_reload_of_what_does_not_run_is_an_error(service, action):
    code, said = service.control(action)
    assert code == 7 and "not running" in said
    assert is_down(service)
    # Nor does it start what was killed.
    assert service.control("start")[0] == 0
    os.kill(service.pid(), signal.SIGKILL)
    wait_for(lambda: is_down(service))
    assert service.control(action)[0] == 7
    assert service.control("status")[0] == 1
    assert service.control("start")[0] == 0	# takes away what was left


@pytest.mark.parametrize("action", ["reload", "force-reload"])
def test_reload_offers_the_master_no_file_that_is_wrong(service, action):
    assert service.control("start")[0] == 0
    pid = service.pid()
    with open(service.ini) as f:
        good = f.read()
    break_file(service)
    code, said = service.control(action)
    assert code == 6 and service.ini + ":" in said
    assert "keeps what it has" in said
    with open(service.ini, "w") as f:
        f.write(good)
    code, said = service.control(action)
    assert code == 0 and str(pid) in said
    wait_for(lambda: n_hups(service) > 0)
    assert n_hups(service) == 1
    assert service.pid() == pid and is_alive(pid)


def test_reload_signals_no_stranger(service):
    with subprocess.Popen(["flock", service.pid_file, "sleep", "1000"],
                          start_new_session=True) as stranger:
        try:
            wait_for(lambda: service.control("status")[0] == 4)
            with open(service.pid_file, "w") as f:
                f.write("%d\n" % stranger.pid)
            for action in ("reload", "reopen"):
                assert service.control(action)[0] == 4
            assert stranger.poll() is None
        finally:
            os.killpg(stranger.pid, signal.SIGKILL)


def test_try_restart_starts_nothing(service):
    code, said = service.control("try-restart")
    assert code == 0 and "not running" in said
    assert service.control("status")[0] == 3
    assert service.control("start")[0] == 0
    pid = service.pid()
    code, said = service.control("try-restart")
    assert code == 0 and service.pid() != pid, said
    pid = service.pid()
    break_file(service)
    assert service.control("try-restart")[0] == 6
    assert service.pid() == pid and is_alive(pid)


def test_start_makes_the_folder_of_the_pid_file(service):
    """One in /run is gone after a boot."""
    service.pid_file = os.path.join(service.prefix, "run/a/kvproxy.pid")
    with open(service.ini) as f:
        text = f.read().replace("[kvproxy]\n",
                                "[kvproxy]\npid_file=run/a/kvproxy.pid\n")
    with open(service.ini, "w") as f:
        f.write(text)
    code, said = service.control("start")
    assert code == 0, said
    assert is_alive(service.pid())
    assert service.control("stop")[0] == 0


# logrotate


def rotate(service, tmp_path):
    conf = built_for(service, "etc/kvproxy.logrotate")
    return run("/usr/sbin/logrotate", "--force", "--state",
               str(tmp_path / "state"), conf)


def test_logrotate_asks_the_one_that_runs(service, tmp_path):
    assert service.control("start")[0] == 0
    pid = service.pid()
    done = rotate(service, tmp_path)
    assert done.returncode == 0 and done.stdout + done.stderr == ""
    log = os.path.join(service.prefix, "log/kvproxy.log")
    assert os.path.exists(log + ".1")
    code, said = service.control("reopen")
    assert code == 0 and str(pid) in said
    assert is_alive(pid)


def test_logrotate_is_content_where_none_runs(service, tmp_path):
    assert service.control("start")[0] == 0
    assert service.control("stop")[0] == 0
    done = rotate(service, tmp_path)
    assert done.returncode == 0 and done.stdout + done.stderr == ""


# systemd


def test_the_unit_has_no_fault(service):
    # Its manual need not be installed here.
    done = run("systemd-analyze", "--man=no", "verify",
               built_for(service, "etc/kvproxy.service"))
    assert done.returncode == 0 and done.stdout + done.stderr == ""


class Manager:
    """Who is told: a systemd's socket."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("")	# the kernel takes a name
        self.socket.settimeout(20)
        self.name = self.socket.getsockname().decode().replace("\0", "@")

    def hear(self):
        return self.socket.recv(4096).decode()

    def has_heard(self):
        self.socket.setblocking(False)
        try:
            return self.hear()
        except BlockingIOError:
            return ""
        finally:
            self.socket.settimeout(20)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.socket.close()


def test_systemd_is_told_when_all_workers_serve_and_when_they_stop(memcached):
    with Manager() as manager:
        kv = Kvproxy([memcached], workers=2)
        kv.env = {"NOTIFY_SOCKET": manager.name}
        with kv:
            assert manager.hear() == "READY=1\nMAINPID=%d" % kv.pid
            assert manager.has_heard() == ""
            kv.stop()
            assert manager.hear() == "STOPPING=1"
            assert manager.has_heard() == ""


def test_systemd_is_not_told_before_the_workers_serve():
    """They try their backends for two seconds first."""
    with Manager() as manager, socket.create_server(("127.0.0.1", 0)) as mute:
        kv = Kvproxy([mute.getsockname()[1]])
        kv.env = {"NOTIFY_SOCKET": manager.name}
        real, seen = kv.is_serving, []

        def is_serving():
            # Heard first: who serves by now may have said so since.
            heard = manager.has_heard()
            if heard:
                seen.append((heard, real()))
            return real()
        kv.is_serving = is_serving
        with kv:
            heard, serves = seen[0] if seen else (manager.hear(), True)
            assert heard.startswith("READY=1\n") and serves


def test_systemd_learns_which_process_has_gone_into_the_background(service):
    with Manager() as manager:
        done = run(PROGRAM.replace(BUILD, service.prefix), "-d", "-c",
                   service.ini, env=dict(os.environ,
                                         NOTIFY_SOCKET=manager.name))
        assert done.returncode == 0, done.stderr
        assert manager.hear() == "READY=1\nMAINPID=%d" % service.pid()
        assert service.control("stop")[0] == 0
        assert manager.hear() == "STOPPING=1"


def test_systemd_hears_nothing_of_a_start_that_fails(memcached):
    with Manager() as manager:
        kv = Kvproxy([memcached], service={"extension": "none.so"})
        kv.env = {"NOTIFY_SOCKET": manager.name}
        try:
            assert kv.run().returncode == 1
            assert manager.has_heard() == ""
        finally:
            shutil.rmtree(kv.folder)
