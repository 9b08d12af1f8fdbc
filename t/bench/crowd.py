#!/usr/bin/env python3
"""What a crowd of clients costs: memory of idle connections, and what those
who never read or are slow cost the others.

    KVPROXY_BUILD=build python3 t/bench/crowd.py [idle connections] [busy ones]

Figures are for comparison within one call; needs as many descriptors as
connections (ulimit -n), in this process and in kvproxy.
"""

import multiprocessing
import os
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from harness import Kvproxy, Memcached, cpu_seconds, rss_bytes  # noqa: E402

ROUNDS, SECONDS = 5, 3
VALUE = b"v" * 100


def busy(kv, n, ready, stop):
    """N connections that ask all the time, each when it has its answer."""
    clients = [kv.client() for _ in range(n)]
    want = b"VALUE k 0 100\r\n%s\r\nEND\r\n" % VALUE
    while not stop.is_set():
        for c in clients:
            c.send(b"get k\r\n")
        for c in clients:
            c.expect(want)
        ready.set()


def latency(kv, seconds, out):
    """p50 and p99 in microseconds of one client, one request at a time."""
    times, end = [], time.monotonic() + seconds
    with kv.client() as c:
        while time.monotonic() < end:
            began = time.perf_counter()
            c.ask_line(b"mg k v\r\n")
            c.recv_exactly(102)
            times.append(time.perf_counter() - began)
    times.sort()
    out.put([1e6 * times[int(len(times) * q)] for q in (.5, .99)])


def ask(kv):
    out = multiprocessing.Queue()
    p = multiprocessing.Process(target=latency, args=(kv, SECONDS, out))
    p.start()
    found = out.get()
    p.join()
    return found


def memory(kv, n_idle, n_busy):
    ready, stop = multiprocessing.Event(), multiprocessing.Event()
    load = multiprocessing.Process(target=busy,
                                   args=(kv, n_busy, ready, stop))
    load.start()
    ready.wait()
    pid = kv.worker_pids()[0]
    time.sleep(1)
    before = rss_bytes(pid)
    idle = []
    for _ in range(n_idle):
        idle.append(kv.client())
        idle[-1].ask_line(b"mg none v\r\n")
    time.sleep(1)
    after = rss_bytes(pid)
    stop.set()
    load.join()
    cpu, began = cpu_seconds(pid), time.monotonic()
    time.sleep(10)
    print("%d idle connections beside %d busy ones: %d bytes each; "
          "alone they cost %.2f %% of a core" % (
              n_idle, n_busy, (after - before) / n_idle,
              100 * (cpu_seconds(pid) - cpu) / (time.monotonic() - began)))
    for c in idle:
        c.close()


def drips(kv, n, ready, stop):
    """N clients that send a byte a second of one request."""
    clients = [kv.client() for _ in range(n)]
    line = b"get " + b"k" * 200
    for at in range(len(line)):
        for c in clients:
            c.send_to_closing(line[at:at + 1])
        ready.set()
        if stop.wait(1):
            break


def deaf(kv, n, ready, stop):
    """N clients that ask for large values, and never read."""
    clients = [kv.client(rcvbuf=4096) for _ in range(n)]
    for c in clients:
        c.send_some(b"get large\r\n" * 100)
    ready.set()
    stop.wait()


def disturb(kv, what, n):
    """The ratio of p50 and of p99 with N hostile clients to those without."""
    ratios = []
    for _ in range(ROUNDS):
        alone = ask(kv)
        ready, stop = multiprocessing.Event(), multiprocessing.Event()
        p = multiprocessing.Process(target=what, args=(kv, n, ready, stop))
        p.start()
        ready.wait()
        time.sleep(0.5)
        beside = ask(kv)
        stop.set()
        p.join()
        time.sleep(0.5)
        ratios.append([b / a for a, b in zip(alone, beside)])
    print("beside %d %s clients: p50 %.2f, p99 %.2f times that without" % (
        n, what.__name__, *map(statistics.median, zip(*ratios))))


def main():
    n_idle, n_busy = [int(a) for a in sys.argv[1:] + ["10000", "1000"][
        len(sys.argv) - 1:]]
    with Memcached("-I", "2m") as m, \
            Kvproxy([m], core={"server_connections": 2,
                               "worker_buffer": 64}) as kv:
        with kv.client() as c:
            for key, value in ((b"k", VALUE), (b"large", b"l" * 900000)):
                c.ask(b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value),
                      b"STORED\r\n")
        memory(kv, n_idle, n_busy)
        disturb(kv, drips, 500)
        disturb(kv, deaf, 50)
        print({k: v for k, v in kv.stats().items() if k in (
            "buffer_pauses", "client_pauses", "fail_unread", "close_slow")})


if __name__ == "__main__":
    main()
