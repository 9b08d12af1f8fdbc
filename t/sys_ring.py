"""A pool that others' clients sharded: kvproxy finds their keys, they its.

One daemon has a service for each way of spreading keys, over the same four
servers.  libmemcached (pylibmc) and twemproxy write, kvproxy reads key by key
and with multi-key gets, and the other way round.
"""

import pylibmc
import pytest

from harness import Client, Kvproxy, Memcached, Nutcracker, free_port

WEIGHTS = [1, 1, 2, 3]
# In the order in which twemproxy puts names of the four servers.
NAMES = ["b", "c", "aa", "node-0"]
HASHES = ["md5", "fnv1_64", "fnv1a_64", "fnv1_32", "fnv1a_32", "crc32",
          "crc32a", "one_at_a_time", "murmur"]
# As twemproxy has them: it lets all keys go to one server with the one that
# is missing, which kvproxy refuses.
WAYS = [(d, h) for d in ("ketama", "modula") for h in HASHES
        if (d, h) != ("ketama", "crc32")]
# libmemcached's names, and those of kvproxy; it has no crc32a.
PYLIBMC = {"md5": "md5", "fnv1_64": "fnv1_64", "fnv1a_64": "fnv1a_64",
           "fnv1_32": "fnv1_32", "fnv1a_32": "fnv1a_32", "crc": "crc32",
           "default": "one_at_a_time", "murmur": "murmur"}


def pool(distribution, hash_):
    return "%s-%s" % (distribution, hash_)


@pytest.fixture(scope="module")
def servers():
    running = []
    try:
        for _ in WEIGHTS:
            running.append(Memcached())
        yield running
    finally:
        for m in running:
            m.__exit__()


@pytest.fixture(scope="module")
def twemproxy(servers):
    # Written in the other order: twemproxy sorts them by name.
    addresses = ["%s:%d" % (m.name, w) for m, w in zip(servers, WEIGHTS)]
    addresses.sort(reverse=True)
    pools = {pool(d, h): {"distribution": d, "hash": h, "servers": addresses}
             for d, h in WAYS}
    pools["tagged"] = {"distribution": "ketama", "hash": "fnv1a_32",
                       "hash_tag": '"{}"', "servers": addresses}
    named = ["%s %s" % (a, n) for a, n in zip(addresses, reversed(NAMES))]
    for d in "ketama", "modula":
        pools["named-" + d] = {"distribution": d, "hash": "murmur",
                               "servers": named}
    with Nutcracker(pools) as nc:
        yield nc


@pytest.fixture(scope="module")
def proxy(servers):
    """Its ports by service in kv.ports."""
    # Ids follow the names in one group, the list in the other.
    by_name = sorted(range(len(servers)), key=lambda i: servers[i].name)
    more = {"weighted": {servers[i].name: '"%d:%d"' % (n, WEIGHTS[i])
                         for n, i in enumerate(by_name)},
            "equal": {m.name: '"%d:1"' % i for i, m in enumerate(servers)},
            "named": {servers[i].name: '"%d:%d:%s"' % (n, WEIGHTS[i],
                                                       NAMES[n])
                      for n, i in enumerate(by_name)}}
    ports = {}

    def service(name, hosts, **options):
        ports[name] = free_port()
        more[name] = dict(options, extension="memcached.so", hosts=hosts,
                          port=ports[name])

    for d, h in WAYS:
        service(pool(d, h), "weighted", distribution=d, hash=h)
    for h in PYLIBMC.values():
        service("equal-" + h, "equal", distribution="modula", hash=h)
    for d in "ketama", "modula":
        service("named-" + d, "named", distribution=d, hash="murmur")
    service("tagged", "weighted", distribution="ketama", hash="fnv1a_32",
            hash_tag="{}")
    with Kvproxy(servers, more=more) as kv:
        kv.ports = ports
        kv.wait_connected(*servers)
        yield kv


def libmemcached(servers, weights, **behaviors):
    return pylibmc.Client(["%s:%d" % (m.name, w)
                           for m, w in zip(servers, weights)],
                          behaviors=behaviors)


def make_items(name, n):
    """Keys of all sorts, with bytes from 0x80 on among them."""
    forms = ["%s:%d", "%s_%d_profile", "user/%s/%08d", "%s:\xe9\xff%d"]
    return {(forms[i % len(forms)] % (name, i)).encode("latin-1"):
            b"value %d of %s" % (i, name.encode()) for i in range(n)}


def write(client, items):
    client.send(b"".join(b"set %s 0 0 %d\r\n%s\r\n" % (k, len(v), v)
                         for k, v in items.items()))
    client.expect(b"STORED\r\n" * len(items))


def read_all(client, items):
    """ITEMS, one by one and then fifty at a time."""
    keys = list(items)
    for n in 1, 50:
        parts = [keys[i:i + n] for i in range(0, len(keys), n)]
        client.send(b"".join(b"get %s\r\n" % b" ".join(p) for p in parts))
        for part in parts:
            assert client.recv_values() == (
                [(k, 0, items[k]) for k in part], b"END\r\n")


def n_items(servers):
    """How many items each server holds."""
    counts = []
    for m in servers:
        with m.client() as c:
            c.send(b"stats\r\n")
            stats = c.recv_until(b"END\r\n").decode()
        counts.append(int(stats.split("STAT curr_items ")[1].split()[0]))
    return counts


def test_keys_that_libmemcached_put_in_a_weighted_ketama_are_found(servers,
                                                                  proxy):
    items = make_items("ketama", 2000)
    before = n_items(servers)
    mc = libmemcached(servers, WEIGHTS, ketama_weighted=True)
    assert not mc.set_multi(items)
    got = [b - a for a, b in zip(before, n_items(servers))]
    assert sum(got) == len(items) and got[3] > 2 * got[0] > 0
    with Client(proxy.ports["ketama-md5"]) as c:
        read_all(c, items)


def test_libmemcached_finds_keys_in_a_weighted_ketama(servers, proxy):
    items = make_items("ketama-back", 500)
    with Client(proxy.ports["ketama-md5"]) as c:
        write(c, items)
    mc = libmemcached(servers, WEIGHTS, ketama_weighted=True)
    assert mc.get_multi(list(items)) == items


@pytest.mark.parametrize("name", PYLIBMC)
def test_libmemcached_and_kvproxy_agree_on_modula(servers, proxy, name):
    mc = libmemcached(servers, [1] * len(servers), distribution="modula",
                      hash=name)
    items = make_items("modula-" + name, 500)
    before = n_items(servers)
    assert not mc.set_multi(items)
    assert all(b > a for a, b in zip(before, n_items(servers)))
    back = make_items("modula-back-" + name, 100)
    with Client(proxy.ports["equal-" + PYLIBMC[name]]) as c:
        read_all(c, items)
        write(c, back)
    assert mc.get_multi(list(back)) == back


def test_libmemcacheds_own_default_is_modula_with_one_at_a_time(servers,
                                                               proxy):
    items = make_items("default", 2000)
    assert not libmemcached(servers, [1] * len(servers)).set_multi(items)
    with Client(proxy.ports["equal-one_at_a_time"]) as c:
        read_all(c, items)


@pytest.mark.parametrize("name", [pool(d, h) for d, h in WAYS] +
                         ["named-ketama", "named-modula"])
def test_F11_twemproxy_and_kvproxy_agree(servers, twemproxy, proxy, name):
    items = make_items("twemproxy-" + name, 300)
    back = make_items("twemproxy-back-" + name, 100)
    before = n_items(servers)
    with twemproxy.client(name) as t, Client(proxy.ports[name]) as c:
        write(t, items)
        assert all(b > a for a, b in zip(before, n_items(servers)))
        read_all(c, items)
        write(c, back)
        for key, value in back.items():
            t.send(b"get %s\r\n" % key)
            assert t.recv_values() == ([(key, 0, value)], b"END\r\n")


def test_twemproxy_and_kvproxy_agree_on_hash_tags(servers, twemproxy, proxy):
    forms = ["user:{%d}:name", "{%d}", "{%d}}", "}{%d}", "{%d}{x}", "{{%d}",
             "{}%d", "{}{%d}", "{%d", "%d}", "%d{", "%d"]
    items = {(form % i).encode(): b"tagged %d" % i
             for form in forms for i in range(30)}
    before = n_items(servers)
    with twemproxy.client("tagged") as t, Client(proxy.ports["tagged"]) as c:
        write(t, items)
        read_all(c, items)
        # One tag, one server: nothing else grows.
        before = n_items(servers)
        write(c, {b"{one}:%d" % i: b"v" for i in range(50)})
        got = [b - a for a, b in zip(before, n_items(servers))]
        assert sorted(got) == [0, 0, 0, 50]
