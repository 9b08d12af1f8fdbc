"""What kvproxy says of itself from outside: `kvproxy status`, and the metrics
page, to a real Prometheus too."""

import bisect
import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client import parser as plain

from harness import (ASAN, SLACK, Client, Kvproxy, Load, Meanwhile, Memcached,
                     Prometheus, free_port, freeze, is_refused, rss_bytes, thaw,
                     wait_for)
from harness.daemon import PROGRAM, is_alive
from harness.net import HOST, Closed
from harness.text import spelled

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
    found = re.findall(r'X\(\w+, "(\w+)", (\w+), (\w+),\s*'
                       r'((?:"[^"]*"\s*)+)\)', text)
    assert len(found) > 10
    return [(n, kind, "".join(re.findall('"([^"]*)"', words)))
            for n, kind, of, words in found if of != "INTERNAL"]


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
    """N sets and gets of as many keys, on a connection of its own; nothing
    of it is under way when this returns."""
    with kv.client() as c:
        for i in range(n):
            c.ask(b"set key:%d 0 0 2\r\nab\r\n" % i, b"STORED\r\n")
            c.ask(b"get key:%d\r\n" % i, b"VALUE key:%d 0 2\r\nab\r\nEND\r\n"
                  % i)
    wait_for(lambda: kv.stat("curr_connections") == 1)


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


def of_services(found):
    return {s["service"]: s["counters"] for s in found["services"]}


def test_the_json_has_each_service(servers):
    """What is counted for it, under its name in the file; one that goes is
    not there, and one that returns goes on."""
    port, name = free_port(), 'a "name"\\'
    more = {name: {"extension": "memcached.so", "hosts": "group",
                   "port": port}}
    with Kvproxy(servers, workers=2, more=more) as kv:
        kv.wait_connected(*servers)
        work(kv)
        with Client(port) as c:
            c.ask(b"get none\r\n" * 3, b"END\r\n" * 3)
            found = of_services(status_json(kv))
            assert list(found) == ["memcached", spelled(name)]
            stats = kv.stats("services")
            for service, counters in found.items():
                word = service + ":"
                assert [word + n for n in counters] == \
                    [n for n in stats if n.startswith(word)]
                for key, value in counters.items():
                    assert value == stats[word + key] or \
                        key.startswith("bytes_"), key
            assert found[spelled(name)]["requests"] == 3
            assert found[spelled(name)]["curr_connections"] == 1
            assert found["memcached"]["requests"] == 80
        kv.reload(more={name: None})
        assert list(of_services(status_json(kv))) == ["memcached"]
        assert status_json(kv)["counters"]["requests"] == 83
        kv.reload(more=more)
        with Client(port) as c:
            c.ask(b"get none\r\n", b"END\r\n")
        found = of_services(status_json(kv))
        assert found[spelled(name)]["requests"] == 4
        assert found[spelled(name)]["curr_connections"] == 0


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


# The metrics page


class Page:
    """An answer."""

    def __init__(self, port, path="/metrics", method="GET", host=HOST,
                 **headers):
        conn = http.client.HTTPConnection(host, port, timeout=20)
        headers = {k.replace("_", "-"): v for k, v in headers.items()}
        body = headers.pop("body", None)
        try:
            conn.request(method, path, body, headers)
            answer = conn.getresponse()
            self.body = answer.read()
            self.status, self.headers = answer.status, answer.headers
        finally:
            conn.close()
        self.type = self.headers["Content-Type"]

    @property
    def text(self):
        return self.body.decode()

    def families(self):
        parse = openmetrics if "openmetrics" in self.type else plain
        return {f.name: f for f in
                parse.text_string_to_metric_families(self.text)}

    def samples(self):
        """{(name, sorted labels without le): value or, of buckets, a list}"""
        found = {}
        for family in self.families().values():
            for s in family.samples:
                labels = tuple(sorted((k, v) for k, v in s.labels.items()
                                      if k != "le"))
                if "le" in s.labels:
                    found.setdefault((s.name, labels), []).append(
                        (float(s.labels["le"]), s.value))
                else:
                    assert (s.name, labels) not in found, s
                    found[s.name, labels] = s.value
        return found


OPENMETRICS = "application/openmetrics-text;version=1.0.0"


@pytest.fixture
def kv(servers):
    """One with a page: kv.page."""
    page = free_port()
    with Kvproxy(servers, workers=2, core={"metrics": page}) as made:
        made.page = page
        made.wait_connected(*servers)
        yield made


def metric(name, kind, prefix="kvproxy_"):
    """What a counter of a table is called, in seconds where it was in ms."""
    name = re.sub("_ms$", "_seconds", name)
    return prefix + name + ("_total" if kind == "TOTAL" else "")


@pytest.mark.parametrize("accept", [None, OPENMETRICS])
def test_the_page_has_every_counter_of_the_tables(kv, servers, accept):
    work(kv)
    kv.stats()
    page = Page(kv.page, **({"Accept": accept} if accept else {}))
    totals, backends = kv.stats(), kv.stats("backends")
    assert page.status == 200
    families, samples = page.families(), page.samples()
    moving = {"bytes_read", "bytes_written", "buffered_bytes"}
    for prefix, rows in (("kvproxy_", table("WORKER")),
                         ("kvproxy_host_", table("HOST"))):
        for name, kind, text in rows:
            full = metric(name, kind, prefix)
            family = families[re.sub("_total$", "", full)]
            assert family.documentation == text
            assert family.type == ("counter" if kind == "TOTAL" else "gauge")
            if prefix == "kvproxy_":
                unit = 1000 if name.endswith("_ms") else 1
                assert samples[full, ()] * unit == totals[name] or \
                    name in moving, name
                continue
            for server in servers:
                assert samples[full, (("host", server.name),)] == \
                    backends["%s:%s" % (server.name, name)], name


@pytest.mark.parametrize("accept", [None, OPENMETRICS])
def test_the_page_has_each_service(kv, servers, accept):
    """Its name spelled in one way, in the file's first one."""
    port, name = free_port(), 'a "name"\\'
    section = {"extension": "memcached.so", "hosts": "group", "port": port}
    for written in (name, name.upper()):
        kv.reload(more={name: None, written: section})
        with Client(port) as c:
            c.ask(b"get none\r\n", b"END\r\n")
        kv.stats()
        page = Page(kv.page, **({"Accept": accept} if accept else {}))
        services, samples = kv.stats("services"), page.samples()
        seen = set()
        for counter, kind, text in table("WORKER"):
            full = metric(counter, kind, "kvproxy_service_")
            family = page.families().get(re.sub("_total$", "", full))
            if "memcached:" + counter not in services:
                assert family is None
                continue
            assert family.documentation == text
            unit = 1000 if counter.endswith("_ms") else 1
            for service in ("memcached", spelled(name)):
                assert samples[full, (("service", service),)] * unit == \
                    services["%s:%s" % (service, counter)] or \
                    counter.startswith("bytes_"), counter
        for _, labels in samples:
            seen.update(v for k, v in labels if k == "service")
        assert seen == {"memcached", spelled(name)}
    assert samples["kvproxy_service_requests_total",
                   (("service", spelled(name)),)] == 2
    kv.reload(more={name: None, name.upper(): None})
    assert "x20" not in Page(kv.page).text


def test_names_that_differ_in_what_is_escaped_differ(kv):
    with open(kv.ini, "rb") as f:
        text = f.read()
    with open(kv.ini, "wb") as f:
        f.write(text)
        for name in (b"s\xe9", b"s\xe8", b"s\\xe9", b"a b", b"a\\x20b"):
            f.write(b"[%s]\nextension=memcached.so\nhosts=group\nport=%d\n" %
                    (name, free_port()))
    kv.reload()
    names = ["memcached", r"s\xe9", r"s\xe8", r"s\x5cxe9", r"a\x20b",
             r"a\x5cx20b"]
    assert [s["service"] for s in status_json(kv)["services"]] == names
    stats, samples = kv.stats("services"), Page(kv.page).samples()
    for name in names:
        assert stats[name + ":requests"] == 0
        assert samples["kvproxy_service_requests_total",
                       (("service", name),)] == 0


def test_the_page_has_the_facts(kv, servers):
    kv.reload()
    kv.change(core={"log_level": "none"})
    kv.reload_in_vain()
    found, said = Page(kv.page).samples(), status_json(kv)
    assert found["kvproxy_build_info", (("version", said["version"]),)] == 1
    assert found["kvproxy_start_time_seconds", ()] == said["started"]
    assert found["kvproxy_config_reloads_total", ()] == 1
    assert found["kvproxy_config_reload_errors_total", ()] == 1
    assert found["kvproxy_max_connections", ()] > 100
    for server in servers:
        assert found["kvproxy_host_up", (("host", server.name),)] == 1
    group = (("group", "group"), ("role", "hosts"), ("service", "memcached"))
    assert found["kvproxy_group_up", group] == 1
    for i in range(2):
        worker = (("worker", str(i)),)
        assert found["kvproxy_worker_up", worker] == 1
        assert found["kvproxy_worker_starts_total", worker] == 1
        assert found["kvproxy_worker_server_connections", worker] == 2


def test_max_connections_is_what_the_option_says(servers):
    page = free_port()
    with Kvproxy(servers, core={"metrics": page, "max_connections": 77}):
        assert Page(page).samples()["kvproxy_max_connections", ()] == 77


def test_promtool_finds_no_fault(kv):
    work(kv)
    done = subprocess.run(["promtool", "check", "metrics"],
                          input=Page(kv.page).body, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=30)
    assert (done.returncode, done.stdout) == (0, b"")


@pytest.mark.parametrize("accept, wants", [
    ("*/*", False), ("text/plain", False), ("", False),
    (OPENMETRICS, True), ("application/openmetrics-text", True),
    ("application/openmetrics-textual", False),
    (OPENMETRICS + ";q=0.5,text/plain;version=0.0.4;q=0.4", True),
    (OPENMETRICS + ";q=0.5, text/plain;version=0.0.4;q=0.6", False),
    ("text/plain;q=0.5 , " + OPENMETRICS + " ; q=0.9", True),
    ("application/openmetrics-text;q=0", False),
    ("APPLICATION/OpenMetrics-Text", True),
    (";,;;,q=,;q", False)])
def test_the_format_is_the_one_that_is_asked_for(kv, accept, wants):
    page = Page(kv.page, Accept=accept)
    assert page.type == (
        "application/openmetrics-text; version=1.0.0; charset=utf-8" if wants
        else "text/plain; version=0.0.4; charset=utf-8")
    assert page.text.endswith("\n# EOF\n") == wants


def test_buckets_are_cumulative_and_say_what_the_json_says(kv, servers):
    work(kv)
    found, said = Page(kv.page).samples(), status_json(kv)
    for name, key, latencies in (
            ("kvproxy_request_duration_seconds", "class",
             said["latency"].items()),
            ("kvproxy_host_request_duration_seconds", "host",
             [(h["host"], h["latency"]) for h in said["hosts"]])):
        for value, latency in latencies:
            label = ((key, value),)
            bounds = [b for b, _ in found[name + "_bucket", label]]
            counts = [n for _, n in found[name + "_bucket", label]]
            assert bounds == [2 ** i / 1e6 for i in range(5, 25)] + \
                [float("inf")]
            assert counts == sorted(counts)
            assert counts[-1] == found[name + "_count", label] == \
                latency["count"]
            assert abs(found[name + "_sum", label] * 1e6 -
                       latency["mean_us"] * latency["count"]) <= \
                latency["count"]
            # Nobody took longer than the longest.
            assert all(n == latency["count"] for b, n in zip(bounds, counts)
                       if b * 1e6 > latency["max_us"])


def test_the_json_is_that_of_the_command(kv):
    def steady(found):
        for part in [found] + found["workers"] + found["hosts"]:
            for key in [k for k in part if k.endswith("_s")]:
                part.pop(key)
        return found

    work(kv)
    kv.stats()
    page = Page(kv.page, "/status.json")
    assert page.type == "application/json"
    assert steady(json.loads(page.text)) == steady(status_json(kv))


@pytest.mark.parametrize("name", [
    "a\\b", "it's", 'quo"te', "gr\xfc\xdfe", "\\", "\\n", '\\"', "a{b},c"])
def test_a_host_whose_name_needs_escaping(kv, servers, name):
    path = kv.path(name)
    kv.reload(group=servers + [path])
    assert [h["host"] for h in status_json(kv)["hosts"]] == kv.hosts[:2] + \
        [spelled(path)]
    for accept in ("text/plain", OPENMETRICS):
        page = Page(kv.page, Accept=accept)
        assert page.samples()["kvproxy_host_requests_total",
                              (("host", spelled(path)),)] == 0
        done = subprocess.run(["promtool", "check", "metrics"],
                              input=page.body, stdout=subprocess.PIPE)
        assert accept == OPENMETRICS or done.returncode == 0, done.stdout


def test_a_host_whose_name_is_not_utf8(kv, servers):
    with open(kv.ini, "rb") as f:
        text = f.read()
    with open(kv.ini, "wb") as f:
        f.write(text + b'%s/\xe9.sock="9:50"\n' % kv.folder.encode())
    kv.reload()
    wanted = kv.path("\\xe9.sock")
    assert status_json(kv)["hosts"][2]["host"] == wanted
    assert ("kvproxy_host_up", (("host", wanted),)) in Page(kv.page).samples()


def test_healthz_names_the_group_whose_hosts_are_all_out():
    page = free_port()
    with Memcached() as first, Memcached() as second, Memcached() as backup, \
            Kvproxy([first, second], backup=[backup],
                    core={"metrics": page}) as kv:
        kv.wait_connected(first, second, backup)
        healthy = Page(page, "/healthz")
        assert (healthy.status, healthy.text) == (200, "ok\n")
        second.kill()
        kv.wait_state(second, "out")
        assert Page(page, "/healthz").status == 200
        first.kill()
        kv.wait_state(first, "out")
        down = Page(page, "/healthz")
        assert (down.status, down.text) == (
            503, "[memcached]: all hosts of group [group] are out\n")
        up = {dict(labels)["group"]: value for (name, labels), value in
              Page(page).samples().items() if name == "kvproxy_group_up"}
        assert up == {"group": 0, "backups": 1}
        first.start()
        kv.wait_state(first, "up")
        assert Page(page, "/healthz").status == 200
        # What is given no keys does not make a group healthy.
        kv.reload(group=[first])
        assert Page(page, "/healthz").status == 200
        backup.kill()
        kv.wait_state(backup, "out")
        assert "[backups]" in Page(page, "/healthz").text


@pytest.mark.parametrize("path", [
    "/", "/metrics/", "/Metrics", "/metrics.json", "/healthz%00", "//metrics",
    "/../etc/passwd", "/%6detrics", "/" + "x" * 3000],
    ids=lambda path: path[:16])
def test_other_paths_are_404(kv, path):
    page = Page(kv.page, path)
    assert page.status == 404 and page.text.startswith("/metrics\n")


def test_a_query_does_not_matter(kv):
    assert Page(kv.page, "/healthz?x=1&y").status == 200


def test_head_has_no_body(kv):
    page = Page(kv.page, method="HEAD")
    assert page.status == 200 and page.body == b""
    assert int(page.headers["Content-Length"]) > 5000


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS",
                                    "PATCH", "BREW"])
def test_other_methods_are_405(kv, method):
    page = Page(kv.page, method=method, body=b"x" * 3000)
    assert page.status == 405 and page.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("junk", [
    b"get key\r\n", b"GET / HTTP/9.9\r\n\r\n", b"x" * 100000,
    b"GET /metrics HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 10000,
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"],
    ids=lambda junk: junk[:4].hex())
def test_what_is_no_request_does_no_harm(kv, junk):
    before = kv.metrics_pids()
    with Client(kv.page) as c:
        c.send_to_closing(junk)
        try:
            c.shut_write()
        except OSError:
            pass
        answer = c.eof()
        assert answer == b"" or answer.startswith(b"HTTP/1.1 4") or \
            answer.startswith(b"HTTP/1.1 5")
    assert Page(kv.page).status == 200
    assert kv.metrics_pids() == before


def test_a_request_that_does_not_end_is_given_five_seconds(kv):
    begin = time.monotonic()
    junk = [b"\0" * 100, b"\x80\x0b" + b"\0" * 22, b"GET /metrics HTTP",
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999999\r\n"
            b"\r\n" + b"y" * 50000, b""]
    clients = [Client(kv.page) for _ in junk]
    for c, data in zip(clients, junk):
        c.send(data)
    for c in clients:
        assert c.eof() == b""
        c.close()
    assert 4.5 < time.monotonic() - begin < 5 + SLACK


def test_only_this_machine_reaches_it(kv):
    assert Page(kv.page, "/healthz").status == 200
    with open("/proc/net/tcp") as f:
        rows = [line.split() for line in f.read().splitlines()[1:]]
    assert [r[1] for r in rows if r[3] == "0A" and
            r[1].endswith(":%04X" % kv.page)] == \
        ["0100007F:%04X" % kv.page]
    for host in ("127.0.0.2", socket.gethostbyname(socket.gethostname())):
        if host != HOST:
            with pytest.raises(ConnectionRefusedError):
                Page(kv.page, host=host)


def test_a_star_is_any_address(servers):
    page = free_port()
    with Kvproxy(servers, core={"metrics": "*:%d" % page}):
        assert Page(page, "/healthz", host="127.0.0.2").status == 200


def test_without_the_option_there_is_no_process(servers):
    with Kvproxy(servers) as kv:
        assert kv.metrics_pids() == []


# Its process


def of_process(pid, what):
    with open("/proc/%d/%s" % (pid, what)) as f:
        return f.read()


def test_the_process_can_read_and_nothing_else(servers):
    page = free_port()
    core = {"metrics": page, "core_dump": "on"}
    if os.getuid() == 0:
        core["user"] = "nobody"
    with Kvproxy(servers, core=core) as kv:
        kv.wait_connected(*servers)
        assert Page(page).status == 200
        pid, = kv.metrics_pids()
        status = of_process(pid, "status")
        assert re.search(r"^Threads:\s+1$", status, re.M)
        assert re.search(r"^NoNewPrivs:\s+1$", status, re.M)
        if os.getuid() == 0:
            assert re.search(r"^Uid:\s+65534\s+65534\s+65534", status, re.M)
            assert re.search(r"^CapEff:\s+0+$", status, re.M)
        assert re.search(r"^Max core file size\s+0\s+0\s",
                         of_process(pid, "limits"), re.M)
        maps = [line.split() for line in of_process(pid, "maps").splitlines()]
        assert [m[1] for m in maps if m[-1] in kv.segments] == ["r--s"]
        # Three standard ones, log, listener, the master's pipe, epoll.
        wait_for(lambda: len(os.listdir("/proc/%d/fd" % pid)) == 7)
        fds = {os.readlink("/proc/%d/fd/%s" % (pid, fd))
               for fd in os.listdir("/proc/%d/fd" % pid)}
        assert sorted(re.sub(r":\[.*", "", f) for f in fds) == sorted([
            "/dev/null", "anon_inode", "pipe", "socket", kv.log, kv.stderr])


def test_its_program_is_not_for_people():
    for args, said in (
            ([], "kvproxy-metrics: kvproxy starts it, where the option "
             "metrics is set\n"),
            (["0.0.0", "-1", "-1", "-1", "-1", "-1"],
             "metrics: kvproxy is of version 0.0.0, this is ")):
        done = subprocess.run([PROGRAM + "-metrics"] + args,
                              stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              universal_newlines=True, timeout=20)
        assert done.returncode == 1 and done.stdout == ""
        assert said in done.stderr


def test_workers_do_not_have_its_libraries(kv):
    Page(kv.page)
    having = [pid for pid in kv.child_pids() + [kv.pid]
              if "libmicrohttpd" in of_process(pid, "maps")]
    assert having == kv.metrics_pids()


def test_it_goes_with_a_master_that_is_killed(servers):
    page = free_port()
    kv = Kvproxy(servers, core={"metrics": page})
    with kv:
        kv.kill()
        assert is_refused(page)
        kv.start()
        assert Page(page).status == 200


def test_a_killed_one_is_replaced_and_nobody_else_notices(kv):
    with Load(kv, n=10) as load:
        for _ in range(5):
            pid, = kv.metrics_pids()
            answers = load.answers
            os.kill(pid, 9)
            # Who asks meanwhile waits in the master's socket.
            assert Page(kv.page).status == 200
            new, = kv.metrics_pids()
            assert new != pid and not is_alive(pid)
            wait_for(lambda: load.answers > answers + 100)
    assert load.errors == [] and load.missed == 0
    assert kv.worker_pids() == kv.first_workers
    assert kv.logged().count("metrics: process") >= 10
    assert kv.stat("curr_connections") <= 11


def test_one_that_dies_young_is_replaced_after_a_pause(kv):
    pid, = kv.metrics_pids()
    for _ in range(3):
        os.kill(pid, 9)
        pid, = wait_for(lambda: [p for p in kv.metrics_pids() if p != pid])
    pauses = re.findall(r"metrics: process \d+ died: killed by signal 9 "
                        r"\(Killed\); next try in (\d+) ms", kv.logged())
    assert pauses == ["50", "100", "200"]
    assert Page(kv.page).status == 200


def test_a_reload_moves_it_and_ends_it(kv, servers):
    second = free_port()
    kv.reload(core={"metrics": second})
    assert Page(second).status == 200
    wait_for(lambda: is_refused(kv.page))
    # The same port, but for all: no moment in between is needed.
    kv.reload(core={"metrics": "*:%d" % second})
    assert Page(second, host="127.0.0.2").status == 200
    kv.reload(core={"metrics": second})
    wait_for(lambda: len(kv.metrics_pids()) == 1)
    with pytest.raises(ConnectionRefusedError):
        Page(second, host="127.0.0.2")
    assert Page(second).status == 200
    kv.reload(core={"metrics": None})
    wait_for(lambda: is_refused(second) and kv.metrics_pids() == [])
    kv.reload(core={"metrics": second}, group=servers[:1])
    assert [n for n, _ in Page(second).samples() if n == "kvproxy_host_up"] \
        == ["kvproxy_host_up"]


class Pages(Meanwhile):
    """Asks for the page all the time."""

    def __init__(self, port):
        super().__init__()
        self.port, self.n = port, 0

    def once(self):
        assert Page(self.port).status == 200
        self.n += 1


def test_who_asks_while_it_is_reloaded_is_answered(kv):
    with Pages(kv.page) as pages:
        for _ in range(10):
            before = pages.n
            kv.reload()
            wait_for(lambda: pages.wrong or pages.n > before + 2)
    assert pages.wrong == []
    wait_for(lambda: len(kv.metrics_pids()) == 1)


def test_an_address_that_is_taken_is_named(servers):
    with socket.socket() as s:
        s.bind((HOST, free_port()))
        s.listen()
        taken = s.getsockname()[1]
        line = (r"%s:\d+: \[kvproxy\] metrics: cannot listen on "
                r"127\.0\.0\.1:%d: Address already in use\n")
        page = free_port()
        with Kvproxy(servers, core={"metrics": page}) as kv:
            other = Kvproxy(servers, core={"metrics": taken})
            try:
                done = other.run()
                assert done.returncode == 1
                assert re.fullmatch("kvproxy: " + line % (other.ini, taken),
                                    done.stderr)
            finally:
                shutil.rmtree(other.folder)
            kv.change(core={"metrics": taken})
            assert re.search("not reloaded: " + line % (kv.ini, taken),
                             kv.reload_in_vain())
            assert Page(page).status == 200
        # One of ours is somebody else's all the same.
        with Kvproxy(servers, core={"metrics": page}):
            other = Kvproxy(servers, core={"metrics": page})
            try:
                assert "Address already in use" in other.run().stderr
            finally:
                shutil.rmtree(other.folder)


def test_it_writes_to_a_log_that_was_opened_anew(kv):
    os.rename(kv.log, kv.log + ".1")
    old, = kv.metrics_pids()
    os.kill(kv.pid, 10)
    wait_for(lambda: os.path.exists(kv.log) and
             kv.metrics_pids() not in ([], [old]) and
             len(kv.metrics_pids()) == 1)
    new, = kv.metrics_pids()
    assert kv.log in {os.readlink("/proc/%d/fd/%s" % (new, fd))
                      for fd in os.listdir("/proc/%d/fd" % new)}
    assert Page(kv.page).status == 200


def test_slow_clients_of_the_page_hold_up_nobody(kv):
    """Four times as many as it takes at once, each a byte every while."""
    head = b"GET /metrics HTTP/1.1\r\nHost: x\r\nx: "
    begin = time.monotonic()
    slow = [Client(kv.page) for _ in range(128)]
    try:
        for c in slow:
            c.send(head)
        with Load(kv, n=10) as load:
            # Behind those that came first: each 32 of them have 500 ms.
            page = {}
            thread = threading.Thread(
                target=lambda: page.update(whole=Page(kv.page)))
            thread.start()
            while thread.is_alive():
                for c in slow:
                    c.send_to_closing(b"x")
                thread.join(0.5)
        assert page["whole"].status == 200
        assert time.monotonic() - begin < 4 * 0.5 + SLACK
        assert load.errors == [] and load.answers > 1000
        for c in slow:
            try:
                c.eof()
            except Closed:
                pass
    finally:
        for c in slow:
            c.close()
    assert kv.metrics_pids() and Page(kv.page).status == 200


def test_who_does_not_read_a_large_page_holds_up_nobody_for_long(servers):
    """The page does not fit into the buffers.  So many of them are kept and no
    more, and soon who has not read one has to go."""
    page = free_port()
    with Kvproxy(servers, core={"metrics": page},
                 service={"failover": "none"}) as kv, \
            contextlib.ExitStack() as stack:
        kv.reload(group=servers + [
            kv.path("%04d-%s" % (i, "x" * 60)) for i in range(700)])
        size = len(Page(page).body)
        deaf = []
        for _ in range(32):
            deaf.append(stack.enter_context(Client(page, rcvbuf=2048)))
            deaf[-1].send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        answers = [c.recv_exactly(12) for c in deaf]
        assert set(answers) == {b"HTTP/1.1 200", b"HTTP/1.1 503"}
        begin = time.monotonic()
        assert Page(page, "/healthz").status == 200
        pid, = kv.metrics_pids()
        assert ASAN or rss_bytes(pid) < (64 << 20) + 8 * size
        wait_for(lambda: Page(page).status == 200)
        assert time.monotonic() - begin < 2 + SLACK
        # Who had to go did not get it all.
        assert min(len(c.eof()) for c, answer in zip(deaf, answers)
                   if answer.endswith(b"200")) < size - 65536


def test_more_who_come_at_once_than_there_is_room_for_are_answered(kv):
    """Also where all go in the turn in which they have come."""
    pid, = kv.metrics_pids()
    freeze(pid)
    clients = [Client(kv.page) for _ in range(100)]
    for c in clients:
        c.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    thaw(pid)
    for c in clients:
        assert c.eof().startswith(b"HTTP/1.1 200")
        c.close()


# A real Prometheus


class Pulse(Meanwhile):
    """How many answers LOAD had at any time, by the clock."""

    pause = 0.005

    def __init__(self, load):
        super().__init__()
        self.load = load
        self.times, self.answers = [], []

    def once(self):
        self.times.append(time.time())
        self.answers.append(self.load.answers)

    def at(self, when):
        i = bisect.bisect(self.times, when)
        assert 0 < i < len(self.times), "no look at the time"
        (t0, t1), (n0, n1) = self.times[i - 1:i + 1], self.answers[i - 1:i + 1]
        return n0 + (n1 - n0) * (when - t0) / (t1 - t0)


def test_prometheus_measures_the_rate_that_there_is(kv):
    with Prometheus([kv.page], rules=RULES) as prom, \
            Load(kv, n=20) as load, Pulse(load) as pulse:
        begin = time.time()
        series = "kvproxy_requests_total"
        wait_for(lambda: time.time() > begin + 11, 30, "ten scrapes")
        now = "%s[9s] @ %.3f" % (series, time.time())
        values = prom.query(now)[0]["values"]
        rate = float(prom.query("rate(%s)" % now)[0]["value"][1])
        assert len(values) >= 8
        first, last = values[0][0], values[-1][0]
        wanted = (pulse.at(last) - pulse.at(first)) / (last - first)
        assert wanted > 100
        assert abs(rate / wanted - 1) < 0.02, (rate, wanted)
        assert [s["value"][1] for s in prom.query("up")] == ["1"]
        groups = prom.ask("rules")["groups"]
        assert groups and all(r["health"] == "ok" and r["state"] == "inactive"
                              for g in groups for r in g["rules"])
    assert load.errors == []


# Alert rules


RULES = os.path.join(SOURCE, "etc/kvproxy.rules.yml")


@pytest.mark.parametrize("words", [
    ["check", "rules", RULES],
    ["test", "rules", os.path.join(SOURCE, "t/kvproxy.rules.test.yml")]],
    ids=lambda words: words[0])
def test_promtool_finds_the_rules_right(words):
    done = subprocess.run(["promtool"] + words, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=60,
                          universal_newlines=True)
    assert done.returncode == 0 and "SUCCESS" in done.stdout, done.stdout


def test_the_rules_know_no_metric_that_there_is_not(kv):
    with open(RULES) as f:
        named = set(re.findall(r"\bkvproxy_\w+", re.sub(
            r"(?m)^ *(summary|description):.*", "", f.read())))
    known = {name for name, _ in Page(kv.page).samples()}
    assert len(named) > 10 and named <= known
