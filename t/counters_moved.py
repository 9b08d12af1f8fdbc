"""Every counter moves in some test: make check runs this behind all of them,
and it looks at what they have seen (harness/moved.py)."""

import glob
import os

import pytest

from harness import BUILD
from harness.moved import SOURCE, SUFFIX, tables


def test_every_counter_was_seen_above_0():
    moved = set()
    for test in glob.glob(os.path.join(SOURCE, "t", "sys_*.py")):
        name = os.path.splitext(os.path.basename(test))[0]
        try:
            with open(os.path.join(BUILD, "t", name + SUFFIX)) as f:
                moved.update(f.read().split())
        except FileNotFoundError:
            pytest.skip("%s was not run by make check" % name)
    worker, host = tables()
    assert len(worker) > 60 and len(host) > 15
    never = [n for n in worker if n not in moved] + \
        ["host:" + n for n in host if "host:" + n not in moved]
    assert not never, "counters that no test moves: " + " ".join(never)
