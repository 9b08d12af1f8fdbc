#!/usr/bin/env python3
"""What an operation costs a worker, counted and not timed.

  python3 t/instructions.py BUILD [OTHER]

Runs the kvproxy of each build folder with one worker under valgrind's
callgrind, between t/bench/loadgen.c (20 connections, 16 requests at a time,
one of ten a set, for 4 s: about 100,000) and two memcached servers, and prints
the instructions of the worker an operation; of two builds, their ratio too.
BUILD has slow_ms and the metrics page on, OTHER has neither.

Needs: cc, memcached, valgrind (Debian's packages).
"""

import glob
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
LOAD = ["-t", "text", "-c", "20", "-P", "16", "-r", "10", "-k", "2000"]
# Under valgrind everything is slow, and nothing is to fail for that.
CORE = {"recv_timeout": 60000, "connect_timeout": 60000, "slow_ms": 0}


def loadgen(folder):
    program = os.path.join(folder, "loadgen")
    subprocess.check_call(["cc", "-O2", "-o", program,
                           os.path.join(HERE, "bench", "loadgen.c")])
    return program


def count(build, generator, folder, is_watched):
    """Instructions an operation of the kvproxy of BUILD."""
    # The harness takes the extensions of the build that it is told of first.
    out = subprocess.check_output(
        [sys.executable, __file__, "--one", generator, folder,
         "watched" if is_watched else ""],
        env=dict(os.environ, KVPROXY_BUILD=os.path.abspath(build)))
    return float(out)


def control(pid, *args):
    subprocess.check_call(["callgrind_control", *args, str(pid)],
                          stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)


def one(generator, folder, watched):
    from harness import Kvproxy, Memcached, free_port
    more = {"slow_ms": 60000, "metrics": free_port()} if watched else {}
    with Memcached() as a, Memcached() as b:
        kv = Kvproxy([a, b], core=dict(CORE, **more),
                     service={"server_connections": 2})
        kv.program = os.path.join(folder, "under-callgrind")
        with open(kv.program, "w") as f:
            f.write("#!/bin/sh\nexec valgrind --tool=callgrind "
                    "--trace-children=yes --instr-atstart=no "
                    "--callgrind-out-file=%s/out.%%p %s/bin/kvproxy \"$@\"\n" %
                    (folder, os.environ["KVPROXY_BUILD"]))
        os.chmod(kv.program, 0o755)
        with kv:
            pid, = kv.worker_pids()
            load = [generator, "-p", str(kv.port)] + LOAD
            subprocess.check_call(load + ["-F"], stdout=subprocess.DEVNULL)
            control(pid, "-i", "on")
            done = json.loads(subprocess.check_output(load + ["-d", "4"]))
            control(pid, "-i", "off")
            control(pid, "-d")
            assert done["bad"] == done["err"] == done["miss"] == 0, done
    totals = []
    for path in glob.glob("%s/out.%d.*" % (folder, pid)):
        with open(path) as f:
            totals += [int(line.split()[1]) for line in f
                       if line.startswith(("summary:", "totals:"))]
    print(max(totals) / done["ops"])


def main(builds):
    with tempfile.TemporaryDirectory(prefix="kvproxy-t-") as folder:
        generator = loadgen(folder)
        found = []
        for n, build in enumerate(builds):
            mine = os.path.join(folder, str(n))
            os.mkdir(mine)
            found.append(count(build, generator, mine, n == 0))
            print("%s: %.0f instructions an operation" % (build, found[-1]))
    if len(found) == 2:
        print("ratio: %.3f" % (found[0] / found[1]))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(*sys.argv[2:])
    elif 1 <= len(sys.argv[1:]) <= 2:
        main(sys.argv[1:])
    else:
        sys.exit(__doc__)
