"""Client libraries that people use, unchanged, through kvproxy, in the text
and the binary protocol: libmemcached under Python, PHP and its own tools,
Perl's Cache::Memcached::Fast, Ruby's Dalli.

What is not Python is a script of t/clients/, which asserts and ends with the
line "done".  The servers are asked themselves how long items have to live."""

import os
import subprocess
import time

import pylibmc
import pytest

from harness import Kvproxy, Memcached, wait_for

MIB = 1024 * 1024
CLIENTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "clients")
LANGUAGE = {".php": "php", ".pl": "perl", ".rb": "ruby"}

# Two addresses of one port: a client's own distribution has what to spread
# over, and its multi-key gets wait on two connections at once.
ADDRESSES = ["127.0.0.1:%d", "127.0.0.2:%d"]
BEHAVIOURS = {
    "plain": {},
    "cas": {"cas": True, "tcp_nodelay": True},
    "ketama": {"ketama": True, "no_block": True, "tcp_nodelay": True},
    "murmur": {"hash": "murmur", "tcp_keepalive": True},
    "buffered": {"buffer_requests": True},
    "noreply": {"_noreply": True, "no_block": True},
}
QUIET = ["buffered", "noreply"]		# say yes before they know

# Nothing that a well-behaved client does brings one of these.
FAULTS = ["failed_requests", "fail_protocol", "fail_unsupported", "close_bad",
          "late_replies"]


def has_dalli_meta():
    """Dalli speaks the meta protocol from 3.1 on."""
    return subprocess.run(
        ["ruby", "-rdalli", "-e", "exit defined?(Dalli::Protocol::Meta) != "
         "nil"], stdin=subprocess.DEVNULL).returncode == 0


DALLI = ["binary"] + (["meta"] if has_dalli_meta() else [])


@pytest.fixture(scope="module")
def servers():
    # -I: what the servers take is not what bounds a value here.
    with Memcached("-I", "4m") as m1, Memcached("-I", "4m") as m2, \
            Memcached("-I", "4m") as m3:
        yield [m1, m2, m3]


@pytest.fixture(scope="module", params=["meta", "text"])
def backend_proto(request):
    return request.param


@pytest.fixture(scope="module")
def kvproxy(backend_proto, servers):
    with Kvproxy(servers, workers=2,
                 service={"backend_proto": backend_proto}) as kv:
        kv.wait_connected(*servers)
        yield kv


@pytest.fixture
def proxy(kvproxy, servers):
    """kvproxy, empty; after the test it must have counted the test's faults
    and no other."""
    for m in servers:
        m.ask(b"flush_all\r\n", b"OK\r\n")
    kvproxy.faults = {}
    before = kvproxy.stats()
    yield kvproxy
    after = kvproxy.stats()
    assert kvproxy.faults == {name: after[name] - before[name]
                              for name in FAULTS
                              if after[name] != before[name]}


@pytest.fixture(params=["text", "binary"])
def dialect(request):
    return request.param


def connect(proxy, dialect, behaviours=None):
    return pylibmc.Client([a % proxy.port for a in ADDRESSES],
                          binary=dialect == "binary", behaviors=behaviours)


def command(script, proxy, *args):
    path = os.path.join(CLIENTS, script)
    return [LANGUAGE[os.path.splitext(script)[1]], path,
            "127.0.0.1:%d" % proxy.port] + list(args)


def run_script(script, proxy, *args):
    done = subprocess.run(command(script, proxy, *args), timeout=60,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    assert (done.returncode, done.stdout) == (0, b"done\n"), \
        done.stdout.decode(errors="replace")


def ttl(servers, key):
    """The seconds that KEY has to live, -1 for ever; it is on one server."""
    lines = [m.ask(b"mg %s t\r\n" % key.encode()) for m in servers]
    found = [int(line.split()[1][1:]) for line in lines
             if line.startswith(b"HD ")]
    assert len(found) == 1, lines
    return found[0]


def check_ttls(servers, *keys, seconds=500):
    """KEYS have SECONDS to live, but for the time since they were told;
    the servers' clocks are up to a second behind the client's."""
    ttls = {key: ttl(servers, key) for key in keys}
    assert all(seconds - 50 < left <= seconds + 1
               for left in ttls.values()), ttls


def check_left(servers, *names):
    """What the scripts leave: ttl:NAME for 500 s, ttl:never for ever."""
    check_ttls(servers, *("ttl:" + name for name in names))
    assert ttl(servers, "ttl:never") == -1


def check_spread(servers):
    """All servers have a share of the keys many:*."""
    shares = [sum(m.ask(b"mg many:%d\r\n" % i) == b"HD\r\n"
                  for i in range(10, 70)) for m in servers]
    assert sum(shares) == 60 and all(shares), shares


def pattern(size):
    block = bytes(i * 7 & 255 for i in range(1024))
    return (block * (size // 1024 + 1))[:size]


# --- libmemcached under Python ---

def buffered(call, *args, **kwargs):
    """A write that may wait in the client: pylibmc makes an error of that."""
    try:
        call(*args, **kwargs)
    except pylibmc.Error as e:
        assert str(e).startswith("error 32 "), e	# MEMCACHED_BUFFERED


def says_no(call, *args):
    """The answer to a write to nothing, which depends on the dialect."""
    try:
        return call(*args) is False
    except pylibmc.NotFound:
        return True


@pytest.mark.parametrize("behaviours", BEHAVIOURS)
def test_pylibmc_finds_what_it_stored(proxy, servers, dialect, behaviours):
    """With every behaviour, also those that hide what a store brought."""
    c = connect(proxy, dialect, BEHAVIOURS[behaviours])
    values = {"int": 42, "negative": -7, "large_int": 1 << 70,
              "float": 1.5, "none": None, "text": "\u263a",
              "bytes": bytes(range(256)), "empty": b"",
              "lines": b"END\r\nVALUE k 0 1\r\nx\r\n",
              "pickle": {"a": [1, (2, "three")]}}
    for key, value in values.items():
        buffered(c.set, key, value)
    for key, value in values.items():
        got = c.get(key, "not found")
        assert got == value and type(got) is type(value), key
    assert c.get_multi(list(values) + ["nothing"]) == values

    many = {"many:%d" % i: b"value %d " % i * (i % 50 + 1)
            for i in range(500)}
    if behaviours == "buffered":	# set_multi ends with the first
        for key, value in many.items():
            buffered(c.set, key, value, time=500)
    else:
        c.set_multi(many, time=500)
    assert c.get_multi(list(many) + ["nothing"]) == many
    assert c.get_multi(["ny:%d" % i for i in range(500)],
                       key_prefix="ma") == \
        {key[2:]: value for key, value in many.items()}
    buffered(c.delete, "many:0")
    assert c.get("many:0") is None
    # Of keys that are there: the answer to a quiet delete of nothing would
    # come when libmemcached does not expect any.
    for key in ["many:1", "many:2"]:
        buffered(c.delete, key)
    assert set(many) - set(c.get_multi(list(many))) == \
        {"many:0", "many:1", "many:2"}

    buffered(c.set, "k", "v")
    buffered(c.append, "k", "-end")
    buffered(c.prepend, "k", "begin-")
    assert c.get("k") == "begin-v-end"
    for size in [2048, 16384, 100000, MIB - 512]:
        buffered(c.set, "big", pattern(size))
        assert c.get("big") == pattern(size), size
    key = "k" * 250
    buffered(c.set, key, b"long")
    assert c.get(key) == b"long" and c.get_multi([key]) == {key: b"long"}

    c.disconnect_all()
    assert c.get("k") == "begin-v-end"
    check_spread(servers)
    check_ttls(servers, "many:7", "many:499")


@pytest.mark.parametrize("behaviours", [b for b in BEHAVIOURS
                                        if b not in QUIET])
def test_pylibmc_is_told_what_became_of_it(proxy, servers, dialect,
                                           behaviours):
    c = connect(proxy, dialect, BEHAVIOURS[behaviours])
    assert c.get("k") is None and "k" not in c
    assert c.set("k", "v") is True and "k" in c
    assert c.add("k", "x") is False
    assert c.add("k2", "v2") is True
    assert c.replace("k2", "new") is True
    assert says_no(c.replace, "nothing", "x")
    assert c.append("k", "-end") is True
    assert c.append("nothing", "x") is False
    assert c.prepend("nothing", "x") is False
    assert c.get_multi(["k", "k2", "nothing"]) == {"k": "v-end", "k2": "new"}
    assert c.delete("k") is True
    assert c.delete("k") is False
    assert c.set_multi({"a": 1, "b": 2}) == []
    assert c.add_multi({"b": 3, "c": 3}) == ["b"]
    assert c.get_multi("abc") == {"a": 1, "b": 2, "c": 3}
    assert c.delete_multi(["a", "b"]) is True
    assert c.delete_multi(["c", "nothing"]) is False

    with pytest.raises(pylibmc.NotFound):
        c.incr("n")
    c.set("n", 40)
    assert c.incr("n", 2) == 42
    assert c.decr("n", 5) == 37
    assert c.decr("n", 50) == 0
    c.set("word", "abc")
    with pytest.raises(pylibmc.Error):
        c.incr("word")
    assert c.get("word") == "abc"

    with pytest.raises(pylibmc.TooBig):
        c.set("big", b"x" * (MIB + 1))
    assert c.set("big", "small") is True and c.get("big") == "small"

    assert c.touch("nothing", 500) is False
    c.set("touched", "v", time=100)
    assert c.touch("touched", 500) is True
    c.set("later", "v", time=int(time.time()) + 500)
    check_ttls(servers, "touched", "later")
    assert ttl(servers, "word") == -1

    c.flush_all()
    assert c.get("word") is None


def test_pylibmc_swaps_once(proxy, dialect):
    c = connect(proxy, dialect, {"cas": True})
    other = connect(proxy, dialect, {"cas": True})
    assert c.gets("k") == (None, None)
    c.set("k", "one")
    value, cas = c.gets("k")
    assert value == "one" and cas > 0
    assert other.gets("k") == (value, cas)
    assert c.cas("k", "two", cas) is True
    assert other.cas("k", "three", cas) is False
    assert c.get("k") == "two"
    value, cas = other.gets("k")
    c.append("k", "-more")
    assert other.cas("k", "three", cas) is False
    with pytest.raises(pylibmc.NotFound):
        c.cas("nothing", "x", cas)
    c.set("n", 1)
    _, cas = c.gets("n")
    c.incr("n")
    assert c.cas("n", 5, cas) is False and c.get("n") == 2


def test_pylibmc_clients_of_both_dialects_see_the_same(proxy):
    text = connect(proxy, "text", {"cas": True})
    binary = connect(proxy, "binary", {"cas": True})
    for first, second in [(text, binary), (binary, text)]:
        first.set("k", {"a": 1})
        assert second.get("k") == {"a": 1}
        value, cas = first.gets("k")
        assert second.gets("k") == (value, cas)
        assert second.cas("k", "other", cas) is True
        assert first.cas("k", "mine", cas) is False
        first.set("n", 10)
        assert second.incr("n", 5) == 15
        assert first.get("n") == 15
        assert second.delete("k") is True
        assert first.get("k") is None


def test_pylibmc_items_expire(proxy):
    clients = [connect(proxy, "text"), connect(proxy, "binary")]
    for i, c in enumerate(clients):
        c.set("set%d" % i, "v", time=2)
        c.set("touched%d" % i, "v")
        c.touch("touched%d" % i, 2)
        c.set("kept%d" % i, "v", time=2)
        c.touch("kept%d" % i, 500)
        assert c.get_multi(["set%d" % i, "touched%d" % i]) == {
            "set%d" % i: "v", "touched%d" % i: "v"}
    keys = [name % i for name in ("set%d", "touched%d") for i in (0, 1)]
    for c in clients:
        wait_for(lambda: not c.get_multi(keys), what="items to expire")
        assert c.get_multi(["kept0", "kept1"]) == {"kept0": "v",
                                                   "kept1": "v"}


def test_pylibmc_asks_for_numbers(proxy, dialect):
    c = connect(proxy, dialect)
    before = dict(c.get_stats()[0][1])
    c.set("k", "v")
    c.get("k")
    c.get("nothing")
    answers = c.get_stats()
    assert len(answers) == 2
    after = answers[0][1]
    for name, grown in [("cmd_get", 2), ("cmd_set", 1), ("get_hits", 1),
                        ("get_misses", 1)]:
        assert int(after[name]) - int(before[name]) == grown, name
    assert int(after["uptime"]) >= 0 and int(after["pid"]) > 0
    assert int(after["threads"]) == 2 and int(after["curr_connections"]) > 0
    assert int(after["bytes_read"]) > int(before["bytes_read"])


# --- libmemcached under PHP, and PHP's sessions ---

def test_php_memcached(proxy, servers, dialect):
    run_script("memcached.php", proxy, dialect)
    counter = ["counter"] if dialect == "binary" else []
    check_left(servers, "set", "time", "touch", *counter)
    check_spread(servers)


def on_off(dialect):
    return "on" if dialect == "binary" else "off"


def test_php_session_lives_and_ends(proxy, servers, dialect):
    run_script("session.php", proxy, on_off(dialect), "all", "abc")
    check_ttls(servers, "sess.abc", seconds=3600)


def test_php_sessions_are_locked(proxy, dialect):
    """Processes that add to one session at a time lose nothing."""
    cmd = command("session.php", proxy, on_off(dialect), "count", "abc")
    procs = [subprocess.Popen(cmd + ["20"], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE) for _ in range(4)]
    said = [p.communicate(timeout=60)[0] for p in procs]
    assert said == [b"done\n"] * 4
    c = connect(proxy, dialect)
    assert c.get("sess.abc") == b"n|i:80;"
    assert c.get("sess.lock.abc") is None


def test_php_session_that_is_held_cannot_be_opened(proxy, dialect):
    cmd = command("session.php", proxy, on_off(dialect), "hold", "abc")
    with subprocess.Popen(cmd, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        run_script("session.php", proxy, on_off(dialect), "fail", "abc")
        run_script("session.php", proxy, on_off(dialect), "count", "x", "1")
        said, _ = holder.communicate(timeout=60)
    assert (holder.returncode, said) == (0, b"done\n")
    run_script("session.php", proxy, on_off(dialect), "count", "abc", "1")


# --- Perl and Ruby ---

def test_perl_cache_memcached_fast(proxy, servers):
    run_script("fast.pl", proxy)
    check_left(servers, "set", "time", "touch", "gat", "gats")
    check_spread(servers)


@pytest.mark.parametrize("protocol", DALLI)
def test_ruby_dalli(proxy, servers, backend_proto, protocol):
    if backend_proto == "text":		# which has no delete with a CAS
        proxy.faults = {"fail_unsupported": 1, "failed_requests": 1}
    run_script("dalli.rb", proxy, protocol, backend_proto)
    check_left(servers, "set", "time", "touch", "gat", "counter")
    check_spread(servers)


# --- libmemcached's tools ---

class Tools:
    """The tools in DIALECT; a call gives what one wrote on standard output,
    and asserts that its status is CODE and standard error has ERROR."""

    def __init__(self, proxy, dialect, folder):
        self.options = ["--servers=127.0.0.1:%d" % proxy.port]
        if dialect == "binary":
            self.options.append("--binary")
        self.folder = str(folder)

    def __call__(self, tool, *args, code=0, error=""):
        done = subprocess.run([tool] + self.options + list(args),
                              stdin=subprocess.DEVNULL, cwd=self.folder,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=60)
        assert done.returncode == code, (tool, args, done)
        assert error in done.stderr.decode(), (tool, args, done)
        assert error or not done.stderr, (tool, args, done)
        return done.stdout


@pytest.fixture
def tools(proxy, dialect, tmp_path):
    return Tools(proxy, dialect, tmp_path)


def test_memccp_and_memccat_copy_files(tools, servers, tmp_path):
    files = {"file%d" % i: b"file %d\r\n\0" % i for i in range(50)}
    files.update({"big": pattern(MIB - 512), "two": b"END\r\n"})
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    assert tools("memccp", *files) == b""
    for name in ["file7", "big", "two"]:
        assert tools("memccat", name) == files[name] + b"\n"
    assert tools("memccat", "file1", "file2", "none", code=1) == \
        files["file1"] + b"\n" + files["file2"] + b"\n"
    tools("memccat", "--file=copy", "big")
    assert (tmp_path / "copy").read_bytes() == files["big"]
    shares = [sum(m.ask(b"mg file%d\r\n" % i) == b"HD\r\n"
                  for i in range(50)) for m in servers]
    assert sum(shares) == 50 and all(shares)


def test_memccp_stores_adds_and_replaces(tools, servers, dialect, tmp_path):
    (tmp_path / "k").write_bytes(b"one")
    (tmp_path / "huge").write_bytes(bytes(MIB + 1))
    if dialect == "binary":
        exists, missing = "CONNECTION DATA EXISTS", "NOT FOUND"
    else:
        exists = missing = "NOT STORED"
    tools("memccp", "--replace", "k", code=1, error=missing)
    tools("memccp", "--add", "--flags=7", "--expire=500", "k")
    check_ttls(servers, "k")
    assert tools("memccat", "--flags", "k") == b"7\none\n"
    (tmp_path / "k").write_bytes(b"two")
    tools("memccp", "--add", "k", code=1, error=exists)
    assert tools("memccat", "k") == b"one\n"
    tools("memccp", "--replace", "k")
    assert tools("memccat", "--flags", "k") == b"0\ntwo\n"
    tools("memccp", "huge", code=1, error="ITEM TOO BIG")
    tools("memccat", "huge", code=1)


def test_memcexist_memctouch_and_memcrm(tools, servers, tmp_path):
    (tmp_path / "k").write_bytes(b"one")
    tools("memcexist", "k", code=1)
    tools("memcexist", "k", code=1)	# asking does not make it
    tools("memccp", "k")
    tools("memcexist", "k")
    tools("memcexist", "k", "none", code=1)
    tools("memctouch", "--expire=500", "k")
    check_ttls(servers, "k")
    tools("memctouch", "--expire=500", "none", code=1)
    tools("memcexist", "none", code=1)
    assert tools("memccat", "k") == b"one\n"
    tools("memcrm", "k")
    tools("memcrm", "k", code=1)
    tools("memccat", "k", code=1)


def test_memcstat_and_memcping(tools, proxy):
    out = tools("memcstat").decode()
    assert out.startswith("Server: 127.0.0.1 (%d)\n" % proxy.port)
    found = dict(line.strip().split(": ", 1)
                 for line in out.splitlines()[1:] if ": " in line)
    assert int(found["threads"]) == 2 and int(found["cmd_get"]) >= 0
    assert "client_window" in tools("memcstat", "settings").decode()
    tools("memcstat", "--server-version",
          error="127.0.0.1:%d 1.6.18\n" % proxy.port)
    ping = Tools(proxy, "text", tools.folder)
    ping("memcping")


def test_memcflush_empties_all_servers(tools, servers, tmp_path):
    names = ["file%d" % i for i in range(30)]
    for name in names:
        (tmp_path / name).write_bytes(b"v")
    tools("memccp", *names)
    tools("memcflush", "--expire=1000")
    assert tools("memccat", "file0") == b"v\n"
    tools("memcflush")
    assert {m.ask(b"mg %s\r\n" % name.encode()) for m in servers
            for name in names} == {b"EN\r\n"}
