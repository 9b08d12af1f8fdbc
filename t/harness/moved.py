"""Which counters were seen above 0.

t/pytest_tap.py names a file in KVPROXY_MOVED; what `stats` and `stats
backends` show in the tests of that process goes there, a name a line, once.
t/counters_moved.py looks at the files of all tests.
"""

import os
import re

SOURCE = os.environ.get("KVPROXY_SOURCE", os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "..", ".."))
SUFFIX = ".moved"
_known = set()


def tables():
    """shared/counters_tbl.h: {name: "TOTAL", "GAUGE" or "AGE"} of the worker's
    counters, and of a host's, but for those that `stats` does not show."""
    with open(os.path.join(SOURCE, "shared", "counters_tbl.h")) as f:
        worker, host = f.read().split("#define COUNTERS_HOST")
    row = re.compile(r'^X\(\w+, "(\w+)", (\w+), (\w+),', re.M)
    for text in (worker, host):
        assert len(row.findall(text)) == len(re.findall("^X", text, re.M))
    return tuple({name: kind for name, kind, of in row.findall(text)
                  if of != "INTERNAL"} for text in (worker, host))


def note(stats, is_of_hosts):
    """STATS is what `stats` shows, or `stats backends`."""
    path = os.environ.get("KVPROXY_MOVED")
    if path is None:
        return
    names = {"host:" + name.rsplit(":", 1)[1] if is_of_hosts else name
             for name, value in stats.items()
             if isinstance(value, int) and value > 0}
    new = names - _known
    if new:
        _known.update(new)
        with open(path, "a") as f:
            f.write("".join(name + "\n" for name in sorted(new)))
