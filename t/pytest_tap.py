"""Run pytest on one file and say it in TAP, a line a test.

The TAP goes to standard output, pytest's own report to standard error.
"""
import os
import sys

import pytest


class Tap:
    def __init__(self, out):
        self.out = out
        self.count = 0

    def say(self, verdict, name, note=""):
        self.count += 1
        name = name.replace("#", "_")
        print(f"{verdict} {self.count} - {name}{note}", file=self.out, flush=True)

    def pytest_collectreport(self, report):
        if report.failed:
            self.say("not ok", "the file can be loaded")

    def pytest_runtest_logreport(self, report):
        name = report.nodeid.split("::", 1)[-1]
        if report.failed:
            self.say("not ok", name if report.when == "call" else f"{name}, {report.when}")
        elif report.skipped:
            self.say("ok", name, " # SKIP")
        elif report.when == "call":
            self.say("ok", name)


def begin_moved(test):
    """The file for the counters that TEST, a system test, moves."""
    name = os.path.splitext(os.path.basename(test))[0]
    if name.startswith("sys_"):
        build = os.environ.get("KVPROXY_BUILD", ".")
        os.environ["KVPROXY_MOVED"] = os.path.join(os.path.abspath(build), "t", name + ".moved")
        open(os.environ["KVPROXY_MOVED"], "w").close()


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path.insert(0, here)
    begin_moved(sys.argv[-1])
    tap = Tap(os.fdopen(os.dup(1), "w"))
    os.dup2(2, 1)
    status = pytest.main(["-v", "-p", "no:cacheprovider", "--rootdir", here, "-c", os.devnull] + sys.argv[1:],
                         plugins=[tap])
    print(f"1..{tap.count}", file=tap.out, flush=True)
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
