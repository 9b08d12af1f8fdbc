"""What kvproxy says of itself from outside: `kvproxy status`."""

import json
import os
import re
import shutil
import subprocess

import pytest

from harness import Kvproxy, Memcached, free_port, freeze, thaw, wait_for
from harness.daemon import PROGRAM

SOURCE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@pytest.fixture(scope="module")
def servers():
    made = [Memcached("-m", "64") for _ in range(2)]
    yield made
    for server in made:
        server.__exit__()


def table(name):
    """The counters of a table that people are told: [(name, kind, text)]."""
    with open(os.path.join(SOURCE, "shared/counters_tbl.h")) as f:
        text = f.read().split("#define COUNTERS_%s(X)" % name)[1]
    text = text.split("\n\n")[0].replace("\\\n", " ")
    found = re.findall(r'X\(\w+, "(\w+)", (\w+),\s*((?:"[^"]*"\s*)+)\)', text)
    assert len(found) > 10
    return [(n, kind, "".join(re.findall('"([^"]*)"', words)))
            for n, kind, words in found if not n.endswith("_us") and
            n != "events_in_a_row"]


def status(kv, *args):
    return subprocess.run([PROGRAM, "status", "-c", kv.ini] + list(args),
                          cwd=kv.folder, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True, timeout=20,
                          env=kv.environment())


def status_text(kv):
    done = status(kv)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return done.stdout


def status_json(kv):
    done = status(kv, "--json")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return json.loads(done.stdout)


def work(kv, n=40):
    """N sets and gets of as many keys, on a connection of its own."""
    with kv.client() as c:
        for i in range(n):
            c.ask(b"set key:%d 0 0 2\r\nab\r\n" % i, b"STORED\r\n")
            c.ask(b"get key:%d\r\n" % i, b"VALUE key:%d 0 2\r\nab\r\nEND\r\n"
                  % i)


# kvproxy status


def test_status_is_the_blocks_bytes_and_what_an_operator_wants(servers):
    with Kvproxy(servers, workers=2) as kv:
        kv.wait_connected(*servers)
        work(kv)
        block = kv.status()
        text = status_text(kv)
        assert text.startswith(block) and "requests [80]\n" in block
        lines = text[len(block):].splitlines()
        assert re.fullmatch(r"kvproxy \d+\.\d+\.\d+, pid %d, up \d+\.\d s" %
                            kv.pid, lines[0])
        assert lines[1:3] == ["Reloads [0], refused [0]", "Workers"]
        for i, pid in enumerate(sorted(kv.worker_pids())):
            assert re.fullmatch(
                r"  - %d \[serving\], starts 1, pid %d, up \d+\.\d s, "
                r"heart beat \d+\.\d s ago" % (i, pid), lines[3 + i])
        assert lines[5] == "Hosts" and len(lines) == 8
        for server, line in zip(servers, lines[6:]):
            assert re.fullmatch(r"  - %s \[up\] for \d+\.\d s, went out 0 "
                                r"times" % server.name, line)
        kv.reload()
        assert re.search(r"\nReloads \[1\], refused \[0\], the last one "
                         r"\d+\.\d s ago\n", status_text(kv))


def test_status_tells_who_is_out_and_since_when(servers):
    with Memcached() as third, Kvproxy(servers + [third]) as kv:
        kv.wait_connected(third)
        third.kill()
        kv.wait_state(third, "out")
        block, text = kv.status(), status_text(kv)
        assert text.startswith(block)
        assert "  - %s [offline]\n" % third.name in text
        assert re.search(r"\n  - %s \[out\] for \d+\.\d s, went out 1 times\n"
                         % third.name, text)
        host = status_json(kv)["hosts"][2]
        assert (host["host"], host["state"], host["ejections"]) == \
            (third.name, "out", 1)
        assert host["state_age_s"] < status_json(kv)["uptime_s"]


def test_status_is_told_while_all_workers_hang(servers):
    with Kvproxy(servers, workers=2) as kv:
        pids = kv.worker_pids()
        for pid in pids:
            freeze(pid)
        try:
            text = status_text(kv)
            # The watchdog's patience is longer than this.
            wait_for(lambda: min(w["heartbeat_age_s"] for w in
                                 status_json(kv)["workers"]) > 1)
        finally:
            for pid in pids:
                thaw(pid)
        assert text.count("[serving]") == 2
        wait_for(lambda: max(w["heartbeat_age_s"] for w in
                             status_json(kv)["workers"]) < 1)


def test_the_json_has_every_counter_and_stats_totals(servers):
    with Kvproxy(servers, workers=2) as kv:
        kv.wait_connected(*servers)
        work(kv)
        # Nothing moves from here on but what asking does.
        kv.stats()
        found = status_json(kv)
        totals = kv.stats()
        moving = {"bytes_read", "bytes_written", "buffered_bytes"}
        assert list(found["counters"]) == [n for n, _, _ in table("WORKER")]
        for name, value in found["counters"].items():
            assert value == totals[name] or name in moving, name
        assert found["pid"] == kv.pid
        assert found["version"] == totals["version"]
        assert abs(found["started"] - totals["time"]) < 30
        assert found["last_reload_age_s"] is None
        backends = kv.stats("backends")
        names = [n for n, _, _ in table("HOST")]
        assert [h["host"] for h in found["hosts"]] == kv.hosts
        for host in found["hosts"]:
            assert list(host["counters"]) == names
            for name, value in host["counters"].items():
                assert value == backends["%s:%s" % (host["host"], name)]
        assert [w["pid"] for w in found["workers"]] == \
            [s["pid"] for _, s in sorted(kv.slots().items())]
        for name in found["counters"]:
            if name not in moving:
                assert sum(w["counters"][name] for w in found["workers"]) == \
                    found["counters"][name], name


def test_the_json_has_the_latency_of_each_class_and_host(servers):
    with Kvproxy(servers) as kv:
        kv.wait_connected(*servers)
        work(kv)
        found, said = status_json(kv), kv.stats("latency")
        whole = dict(found["latency"])
        assert list(whole) == ["read", "write", "every", "multi"]
        whole.update((h["host"], h["latency"]) for h in found["hosts"])
        for name, latency in whole.items():
            assert list(latency) == ["count", "mean_us", "p50_us", "p90_us",
                                     "p99_us", "p99.9_us", "max_us"]
            for key, value in latency.items():
                assert abs(value - said["%s:%s" % (name, key)]) <= 1
        assert whole["read"]["count"] == whole["write"]["count"] == 40
        assert sum(h["latency"]["count"] for h in found["hosts"]) == 80


def test_a_host_whose_name_needs_escaping(servers):
    with Kvproxy(servers) as kv:
        odd = kv.path('a\\b\'c\xe9')
        kv.reload(group=servers + [odd + "/x.sock"])
        assert status_json(kv)["hosts"][2]["host"] == odd + "/x.sock"


def test_status_exits_3_where_none_runs():
    kv = Kvproxy([free_port()])
    try:
        done = status(kv)
        assert (done.returncode, done.stdout) == (3, "")
        assert done.stderr == "kvproxy: not running\n"
        with kv:
            kv.kill()
            done = status(kv, "--json")
            assert (done.returncode, done.stdout) == (3, "")
            assert done.stderr == "kvproxy: not running, but left %s\n" % \
                kv.pid_file
            kv.start()
            assert status(kv).returncode == 0
    finally:
        shutil.rmtree(kv.folder, ignore_errors=True)


def test_status_does_not_care_what_is_wrong_in_the_file(servers):
    with Kvproxy(servers) as kv:
        with open(kv.ini, "a") as f:
            f.write("[no end\nnonsense\n")
        block = kv.status()
        assert status_text(kv).startswith(block)


@pytest.mark.parametrize("at, data, why", [
    (16, b"\xff\0\0\0", "of another version of kvproxy"),
    (0, b"x", "not kvproxy's")])
def test_status_exits_1_where_it_cannot_be_read(servers, at, data, why):
    with Kvproxy(servers) as kv:
        segment, = kv.segments
        with open(segment, "r+b") as f:
            f.seek(at)
            kept = f.read(len(data))
            f.seek(at)
            f.write(data)
        done = status(kv)
        assert (done.returncode, done.stdout) == (1, "")
        assert re.fullmatch(r"kvproxy: /dev/shm/\S+ \(of %s\): %s\n" % (
            re.escape(kv.pid_file), why), done.stderr)
        # The control script goes by the pid file.
        with open(segment, "r+b") as f:
            f.seek(at)
            f.write(kept)
        assert status(kv).returncode == 0


@pytest.mark.parametrize("args", [["x"], ["--nonsense"], ["-s", "x"]])
def test_a_wrong_command_line_is_refused(args):
    done = subprocess.run([PROGRAM, "status"] + args, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, universal_newlines=True,
                          timeout=20)
    assert done.returncode == 1 and done.stdout == ""
    assert "kvproxy status [--json] [-c FILE]" in done.stderr
