"""`kvproxy route`: what it says is what a running kvproxy does."""

import os
import re
import shutil
import subprocess

import pytest

from harness import Kvproxy, Memcached, free_port, wait_for
from harness.daemon import PROGRAM

KINDS = ["read", "read for a CAS or a change", "write", "copy"]


class Grouped(Kvproxy):
    """With GROUPS: names and the lines they have."""

    def __init__(self, groups, **kwargs):
        self.lists = groups
        super().__init__([free_port()], **kwargs)

    def write_ini(self, core, service):
        super().write_ini(core, service)
        with open(self.ini, "a") as f:
            for name, lines in self.lists.items():
                f.write("[%s]\n" % name)
                f.writelines(line + "\n" for line in lines)

    def route(self, *args):
        """What `kvproxy route ARGS` says, with this configuration."""
        return subprocess.run(
            [PROGRAM, "route", "-c", self.ini] + list(args), cwd=self.folder,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, universal_newlines=True, timeout=20,
            env=self.environment())

    def lines(self, *args):
        done = self.route(*args)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    def answers(self, key):
        """For each kind of command its host and why."""
        said = dict(line.strip().split(": ", 1) for line in self.lines(key))
        return {kind: said[kind].split(", ", 1) for kind in KINDS}


@pytest.fixture
def still():
    """Makes some that are never started."""
    made = []

    def make(*args, **kwargs):
        made.append(Grouped(*args, **kwargs))
        return made[-1]

    yield make
    for kv in made:
        shutil.rmtree(kv.folder)


def group(servers):
    return ['%s="%d:50"' % (getattr(s, "name", s), i + 1)
            for i, s in enumerate(servers)]


@pytest.fixture(scope="module")
def servers():
    """Two or three of each group."""
    made = [Memcached("-m", "64") for _ in range(8)]
    yield {"hosts": made[:3], "slaves": made[3:5], "backup": made[5:]}
    for server in made:
        server.__exit__()


def alive(servers):
    return [s for s in servers if s.proc.poll() is None]


def tell(server, data, n):
    """Send DATA, read the N lines of the answers."""
    with server.client() as c:
        c.send(data)
        return [c.recv_line() for _ in range(n)]


def find_all(servers, keys):
    """For each key, the servers that have b"w" for it."""
    found = {key: [] for key in keys}
    for s in alive(servers):
        with s.client() as c:
            c.send(b"".join(b"get %s\r\n" % k for k in keys))
            for key in keys:
                values, _ = c.recv_values()
                if values and values[0][2] == b"w":
                    found[key].append(s.name)
    return found


def real(kv, servers, keys):
    """Where a running kvproxy has each command for each key go: a dict of
    dicts as answers() has it."""
    everybody = alive(sum(servers.values(), []))
    for s in everybody:
        tell(s, b"".join(b"set %s 0 0 %d\r\n%s\r\n" % (
            k, len(s.name), s.name.encode()) for k in keys), len(keys))
    found = {k: {} for k in keys}
    with kv.client() as c:
        for kind, verb in (("read", b"get"),
                           ("read for a CAS or a change", b"gets")):
            for k in keys:
                c.send(b"%s %s\r\n" % (verb, k))
                values, line = c.recv_values()
                found[k][kind] = values[0][2].decode() if values else \
                    "nowhere"
        copies = kv.stat("copies")
        for k in keys:
            line = c.ask_line(b"set %s 0 0 1\r\nw\r\n" % k)
            assert line == b"STORED\r\n" or line.startswith(b"SERVER_ERROR ")
            found[k]["write"] = "nowhere" if line[:2] != b"ST" else None
    wait_for(lambda: kv.stat("copies_queued") == 0 and
             kv.stat("copies") - copies <= len(keys))
    wait_for(lambda: kv.stat("copies_sent") == kv.stat("copies"))
    hosts = find_all(servers["hosts"], keys)
    backup = find_all(servers["backup"], keys)
    for k in keys:
        at, copied = hosts[k], backup[k]
        assert len(at) <= 1 and len(copied) <= 1
        if found[k]["write"] is None:
            found[k]["write"] = (at or copied)[0]
        found[k]["copy"] = copied[0] if at and copied else "nowhere"
    return found


@pytest.mark.parametrize("failover", ["rehash", "backup", "none"])
def test_route_says_where_keys_really_go(servers, failover):
    keys = [b"key:%d" % i for i in range(200 if failover == "rehash" else 40)]
    kv = Grouped({name: group(s) for name, s in servers.items()},
                 service={"hosts": "hosts", "hosts_read": "slaves",
                          "hosts_backup": "backup", "failover": failover})
    with kv:
        kv.wait_connected(*sum(servers.values(), []))
        said = {k: kv.answers(k.decode()) for k in keys}
        was = {k: {kind: v[0] for kind, v in said[k].items()} for k in keys}
        assert was == real(kv, servers, keys)
        assert {v["write"] for v in was.values()} == \
            {s.name for s in servers["hosts"]}
        assert {v["read"] for v in was.values()} == \
            {s.name for s in servers["slaves"]}

        out = [servers["hosts"][1], servers["slaves"][0]]
        for s in out:
            s.kill()
        try:
            wait_for(lambda: kv.status().count("[offline]") == 2)
            said = {k: kv.answers(k.decode()) for k in keys}
            now = {k: {kind: v[0] for kind, v in said[k].items()}
                   for k in keys}
            assert now == real(kv, servers, keys)
            # Nothing else has moved, and what has is explained.
            for k in keys:
                for kind in KINDS:
                    if was[k][kind] in (s.name for s in out):
                        assert was[k][kind] in said[k][kind][1]
                        assert "out" in said[k][kind][1]
                    elif kind != "copy" or was[k]["write"] == now[k]["write"]:
                        assert was[k][kind] == now[k][kind]
            lines = kv.lines("x")
            assert "  state: of the running kvproxy, pid %d" % kv.pid in lines
            for s in out:
                assert "  out: " + s.name in lines
        finally:
            for s in out:
                s.start()


# What it says, to the letter


HOSTS = ["127.0.0.1:%d" % port for port in (1, 2, 3)]


def test_without_a_running_kvproxy_all_hosts_are_up(still):
    kv = still({"one": group(HOSTS[:1]), "two": group(HOSTS[1:2]),
                "three": group(HOSTS[2:])},
               service={"hosts": "one", "hosts_read": "two",
                        "hosts_backup": "three"})
    assert kv.lines("a\tkey") == [
        "service memcached: distribution ketama, hash md5",
        "  key: a\\x09key",
        "  state: no kvproxy runs, all hosts are taken as up",
        "  read: 127.0.0.1:2, the owner in [two]",
        "  read for a CAS or a change: 127.0.0.1:1, the owner in [one]",
        "  write: 127.0.0.1:1, the owner in [one]",
        "  copy: 127.0.0.1:3, the owner in [three]",
    ]


def test_without_backup_and_read_group(still):
    kv = still({}, service={"distribution": "kvproxy"})
    host = kv.hosts[0]
    lines = kv.lines("k")
    assert lines[0] == "service memcached: distribution kvproxy, hash crc32a"
    assert lines[3:] == [
        "  read: %s, the owner in [group]" % host,
        "  read for a CAS or a change: %s, the owner in [group]" % host,
        "  write: %s, the owner in [group]" % host,
        "  copy: nowhere, there is no hosts_backup",
    ]


def test_a_group_without_weights_is_empty(still):
    kv = still({"none": ['127.0.0.1:1="1:0"'], "bare": ['127.0.0.1:2="1:0"']},
               service={"hosts": "none", "hosts_backup": "bare"})
    assert kv.lines("k")[3:] == [
        "  read: nowhere, the group is empty: [none]",
        "  read for a CAS or a change: nowhere, the group is empty: [none]",
        "  write: nowhere, the group is empty: [none]",
        "  copy: nowhere, the group is empty: [bare]",
    ]


@pytest.mark.parametrize("key, part", [
    ("user:{42}:name", "42"), ("{a}{b}", "a"), ("a{}b", None), ("a}b{", None),
    ("plain", None)])
def test_the_part_that_a_hash_tag_leaves_is_named(still, key, part):
    kv = still({}, core={"hash_tag": "{}"})
    assert kv.lines(key)[1] == "  key: " + key + (
        ", hash tag {}: only %s is hashed" % part if part else "")


def test_a_killed_masters_segment_is_not_believed(servers):
    kv = Grouped({"hosts": group(servers["hosts"])},
                 service={"hosts": "hosts"})
    with kv:
        assert "  state: of the running kvproxy, pid %d" % kv.pid in \
            kv.lines("k")
        kv.kill()
        assert os.path.exists(kv.pid_file)
        assert "  state: no kvproxy runs, all hosts are taken as up" in \
            kv.lines("k")
        for segment in kv.segments:
            os.unlink(segment)
        assert any(re.match("  state: cannot be read, .*: /dev/shm/", line)
                   for line in kv.lines("k"))


def test_each_service_or_the_one_that_is_asked_for(still):
    second = ["extension=memcached.so", "hosts=group", "port=%d" % free_port()]
    kv = still({"Other": second})
    heads = [line.split(":")[0] for line in kv.lines("k") if line[0] != " "]
    assert heads == ["service memcached", "service Other"]
    lines = kv.lines("k", "-s", "other")
    assert len(lines) == 7 and lines[0].startswith("service Other:")


@pytest.mark.parametrize("args, error", [
    ([], "route: no key"), (["a", "b"], 'unexpected argument "b"'),
    ([""], "route: a key has 1 to 1024 bytes"),
    (["x" * 1025], "route: a key has 1 to 1024 bytes"),
    (["k", "-s", "nobody"], "there is no service [nobody]")])
def test_an_error_is_one_line(still, args, error):
    kv = still({})
    done = kv.route(*args)
    assert done.returncode == 1 and done.stdout == ""
    first = done.stderr.splitlines()[0]
    assert first.startswith("kvproxy: ") and error in first


def test_options_may_stand_before_the_key_and_behind_it(still):
    kv = still({})
    assert kv.lines("k") == kv.lines("-s", "memcached", "--", "k")
    assert kv.lines("--", "-k")[1] == "  key: -k"


def test_h_names_it():
    done = subprocess.run([PROGRAM, "-h"], stdout=subprocess.PIPE,
                          universal_newlines=True, timeout=20)
    assert "kvproxy route KEY" in done.stdout
