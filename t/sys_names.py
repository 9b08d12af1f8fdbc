"""Backends that are given by name, and the name's ways of changing."""

import shutil
import time

import pytest

from harness import SLACK, FakeBackend, Kvproxy, free_port, names, wait_for
from harness.text import FAIL

try:
    names.enter()
    NO_NAMESPACE = None
except names.NoNamespace as e:
    NO_NAMESPACE = "neither root nor allowed to make namespaces: %s" % e

pytestmark = pytest.mark.skipif(NO_NAMESPACE is not None,
                                reason=str(NO_NAMESPACE))



class Named(Kvproxy):
    """In front of HOSTS, addresses as the file is to have them."""

    def count(self, host, counter):
        return self.stats("backends")["%s:%s" % (host, counter)]


def backend(value, host="127.0.0.1", port=None):
    fake = FakeBackend(host=host, port=port)
    fake.store[b"k"] = value
    return fake


def get(client, key=b"k"):
    """The value of KEY, or the line that fails it."""
    client.send(b"get %s\r\n" % key)
    values, line = client.recv_values()
    return values[0][2] if values else line


def get_until(client, value):
    wait_for(lambda: get(client) == value, what="the value %r" % value)


def test_a_name_whose_address_changes_is_served_at_the_new_one():
    with names.Dns(cache=["127.0.0.1"]) as dns, backend(b"old") as old, \
            backend(b"new", "127.0.0.2", old.port):
        host = "cache.test:%d" % old.port
        with Named([host], workers=2) as kv, kv.client() as c:
            assert get(c) == b"old"
            # Nobody asks while nothing fails.
            dns.names["cache.test"] = ["127.0.0.2"]
            assert get(c) == b"old" and kv.count(host, "lookups") == 0
            old.stop()
            get_until(c, b"new")
            wait_for(lambda: kv.count(host, "connected") == 2)
            assert kv.logged().count(host + ": is at 127.0.0.2 now") == 2
            assert kv.count(host, "lookups") >= 2
            assert kv.count(host, "lookup_errors") == 0
            get_until(c, b"new")


def test_of_several_addresses_the_one_in_use_stays():
    with names.Dns(cache=["127.0.0.2"]) as dns, \
            backend(b"one", "127.0.0.2") as one:
        host = "cache.test:%d" % one.port
        with Named([host]) as kv, kv.client() as c:
            assert get(c) == b"one"
            dns.names["cache.test"] = ["127.0.0.3", "127.0.0.1", "127.0.0.2"]
            one.stop()
            wait_for(lambda: kv.count(host, "lookups") >= 2)
            assert " now" not in kv.logged()
            with backend(b"again", "127.0.0.2", one.port) as again:
                get_until(c, b"again")
                # All workers must come to the same one, in whatever order
                # they are told.
                dns.names["cache.test"] = ["127.0.0.4", "127.0.0.3"]
                again.stop()
                with backend(b"least", "127.0.0.3", one.port):
                    get_until(c, b"least")


def test_IPv6_is_asked_for_where_there_is_no_IPv4():
    with names.Dns(cache=["127.0.0.1"]) as dns, backend(b"old") as old:
        host = "cache.test:%d" % old.port
        with Named([host]) as kv:
            kv.tick()
            dns.names["cache.test"] = ["2001:db8::1"]
            old.stop()
            wait_for(lambda: host + ": is at 2001:db8::1 now" in kv.logged())
            assert kv.count(host, "lookup_errors") == 0


def test_E26_a_name_that_is_gone_keeps_its_last_address():
    with names.Dns(cache=["127.0.0.1"]) as dns, backend(b"v") as old:
        host = "cache.test:%d" % old.port
        with Named([host]) as kv, kv.client() as c:
            assert get(c) == b"v"
            del dns.names["cache.test"]
            began = time.monotonic()
            old.stop()
            wait_for(lambda: kv.count(host, "connect_errors") >= 8)
            lookups = kv.count(host, "lookups")
            assert 1 <= lookups <= time.monotonic() - began + 1
            wait_for(lambda: kv.count(host, "lookup_errors") ==
                     kv.count(host, "lookups"))
            assert "%s: cannot be looked up" % host in kv.logged()
            assert get(c).startswith(FAIL + host.encode())
            with backend(b"back", port=old.port):
                get_until(c, b"back")


def test_E26_a_dns_that_does_not_answer_costs_only_its_hosts_keys():
    with names.Dns(cache=["127.0.0.1"]) as dns, backend(b"v") as old, \
            FakeBackend() as other:
        host = "cache.test:%d" % old.port
        with Named([host, other.name],
                   service={"failover": "none"}) as kv, kv.client() as c:
            key = other.key(c)
            other.store[key] = b"fine"
            dns.silent = True
            began = time.monotonic()
            old.stop()
            while kv.count(host, "lookup_errors") < 1:
                asked = time.monotonic()
                assert get(c, key) == b"fine"
                assert time.monotonic() - asked < SLACK
            # One at a time.
            assert kv.count(host, "lookups") <= 2
            assert time.monotonic() - began < 5 + SLACK
            assert "no answer in time" in kv.logged()
            with backend(b"back", port=old.port) as back:
                wait_for(lambda: back.conns, what="a connection to the last "
                         "address")
                back.stop()
            # It stops while a look-up is under way.
            wait_for(lambda: kv.count(host, "lookups") >
                     kv.count(host, "lookup_errors"))
            stop = time.monotonic()
            c.close()
            kv.stop()
            assert time.monotonic() - stop < SLACK
    assert set(dns.asked) == {"cache.test"}


def test_a_number_is_never_looked_up():
    with names.Dns() as dns, backend(b"v") as old, \
            Named([old.name]) as kv, kv.client() as c:
        assert get(c) == b"v"
        old.stop()
        wait_for(lambda: kv.count(old.name, "connect_errors") >= 5)
        assert kv.count(old.name, "lookups") == 0 and dns.asked == []


@pytest.mark.parametrize("silent", [False, True])
def test_E26_a_name_unknown_at_start_is_an_error_that_names_it(silent):
    host = "nobody.test:%d" % free_port()
    kv = Named([host])
    try:
        with names.Dns(cache=["127.0.0.1"]) as dns:
            dns.silent = silent
            done = kv.run()
            assert done.returncode == 1
            assert host in done.stderr and done.stderr.count("\n") == 1
            assert "nobody.test" in dns.asked
    finally:
        shutil.rmtree(kv.folder)


@pytest.mark.parametrize("silent", [False, True])
def test_E26_a_reload_with_an_unknown_name_keeps_the_old_file(silent):
    """Nobody waits for the look-up; names that are known are not looked up
    again."""
    port = free_port()
    with names.Dns(cache=["127.0.0.1"], more=["127.0.0.2"]) as dns, \
            backend(b"v", port=port), \
            Named(["cache.test:%d" % port]) as kv, kv.client() as c:
        assert get(c) == b"v"
        dns.silent = silent
        del dns.asked[:]
        kv.change(group=["cache.test:%d" % port, "nobody.test:%d" % port])
        errors, begin = kv.stat("reload_errors"), time.monotonic()
        kv.hup()
        while kv.stat("reload_errors") == errors:
            assert time.monotonic() - begin < 10 + SLACK
            asked = time.monotonic()
            assert get(c) == b"v"
            assert time.monotonic() - asked < SLACK
        assert "not reloaded: " in kv.logged()
        assert silent or "nobody.test" in kv.logged()
        assert set(dns.asked) == {"nobody.test"}
        dns.silent = False
        with backend(b"v", "127.0.0.2", port):
            kv.reload(group=["more.test:%d" % port])
            assert get(c) == b"v"
        assert kv.stat("reloads") == 1
