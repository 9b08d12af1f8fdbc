"""The manual and the sample file say what the program says of itself.

An option that is not built yet (LATER) must be in neither; all others must be
in both, with their range and default.  Where the manual lacks a line, the
message of the failed test has it.
"""

import collections
import os
import pwd
import re
import signal
import string
import subprocess

import pytest

from harness import BUILD, Kvproxy, Memcached
from harness.daemon import PROGRAM

HERE = os.path.dirname(os.path.abspath(__file__))
ETC = os.path.join(os.path.dirname(HERE), "etc")
PROGRAM_PAGE = os.path.join(ETC, "kvproxy.8")
FILE_PAGE = os.path.join(ETC, "kvproxy.ini.5")
SAMPLE = os.path.join(ETC, "kvproxy.ini")

Option = collections.namedtuple(
    "Option", "table key type default least most names when sentence")

SECTIONS = {"core": "CORE OPTIONS", "service": "SERVICE OPTIONS",
            "extension": "MEMCACHED OPTIONS"}
VALUES = {"INT": "Whole number, %s to %s", "MS": "Milliseconds, %s to %s",
          "SEC": "Seconds, %s to %s", "MB": "MiB, %s to %s",
          "STR": "Text, %s to %s bytes"}
WHEN = {"NOW": "takes a reload", "RESTART": "takes a restart",
        "INERT": "does nothing"}
# Of those without a default the sample must set these, and may no other.
REQUIRED = {"extension", "hosts"}


def run(*args, status=0):
    done = subprocess.run(list(args), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True, timeout=30)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


# What the program says


@pytest.fixture(scope="module")
def options():
    """All options, as the tables have them."""
    said = run(os.path.join(BUILD, "t/print_options"))
    found = [Option(*line.split("\t")) for line in said.splitlines()]
    assert len(found) > 30 and {o.table for o in found} == set(SECTIONS)
    return found


@pytest.fixture(scope="module")
def built(options):
    """Those that are built; of the paths, with their real defaults."""
    said = run(PROGRAM, "-p", "-c", "/nonexistent")
    paths = dict(line.split(" = ") for line in said.splitlines())
    return [o._replace(default=os.path.relpath(paths[o.key],
                                               os.path.realpath(BUILD)))
            if o.type == "STR" and o.key in paths else o
            for o in options if o.when != "LATER"]


@pytest.fixture(scope="module")
def running():
    with Memcached() as memcached, Kvproxy([memcached]) as kv:
        yield kv


# What the pages say


def page_sections(path):
    """Of a page: {section: [(head, body)]} for the items of its lists, with
    subsections as sections too."""
    found = collections.defaultdict(list)
    names, body = [], None
    for line in read(path).splitlines():
        macro, _, rest = line.partition(" ")
        if macro == ".Sh":
            names, body = [rest], None
        elif macro == ".Ss":
            names, body = names[:1] + [rest], None
        elif macro == ".It":
            body = []
            for name in names:
                found[name].append((rest, body))
        elif body is not None:
            body.append(line)
    return found


def page_words(path, section, macro):
    """What stands after MACRO in the heads of SECTION's items."""
    heads = [head for head, _ in page_sections(path)[section]]
    found = [head.split(" ", 1)[1] for head in heads
             if head.startswith(macro + " ")]
    assert found and len(set(found)) == len(found), found
    return found


def one_of(names):
    *most, last = names
    return "%s or %s" % (", ".join(most), last)


def first_words(o):
    """Those of O's item in the manual."""
    if o.type == "ENUM":
        values = one_of(o.names.split("|"))
    elif o.type == "BOOL":
        values = "on or off"
    elif o.type == "STR" and o.least == o.most:
        values = "Text, %s bytes" % o.least
    else:
        values = VALUES[o.type] % (o.least, o.most)
    default = "no default" if o.default == "-" else "default " + o.default
    return "%s; %s; %s." % (values, default, WHEN[o.when])


@pytest.mark.parametrize("table", SECTIONS)
def test_the_manual_has_every_option_with_range_and_default(built, table):
    items = page_sections(FILE_PAGE)[SECTIONS[table]]
    said = {head[len("Ic "):]: " ".join(
        body[:body.index(".Pp")] if ".Pp" in body else body)
        for head, body in items if head.startswith("Ic ")}
    wanted = {o.key: first_words(o) for o in built if o.table == table}
    assert said == wanted
    # What follows the first words says what it is for.
    for head, body in items:
        assert not head.startswith("Ic ") or len(body) > 2, head


def sample_lines(o, sample):
    """Where the sample sets O, in a section where that may stand: for each
    line ("; " or "", value, the paragraph around it in one line)."""
    found = []
    sections = re.split(r"^\[(.*)\]\n", sample, flags=re.M)
    where = {"core": ["kvproxy"], "extension": ["memcached"],
             "service": ["kvproxy", "memcached"]}[o.table]
    for name, text in zip(sections[1::2], sections[2::2]):
        for paragraph in text.split("\n\n"):
            found += [(mark, value, paragraph.replace("\n; ", " "))
                      for mark, value in re.findall(
                          "^(; )?%s =(?: (.*))?$" % re.escape(o.key),
                          paragraph, re.M) if name in where]
    return found


def test_the_sample_has_every_option_with_range_and_default(built):
    sample = read(SAMPLE)
    for o in built:
        lines = sample_lines(o, sample)
        assert len(lines) == 1, "%s: %s" % (o.key, lines)
        mark, value, paragraph = lines[0]
        if o.default != "-":
            assert value == o.default, o.key
        else:
            assert (mark == "") == (o.key in REQUIRED), o.key
        if o.type == "ENUM":
            for name in o.names.split("|"):
                assert re.search(r"\b%s\b" % name, paragraph), (o.key, name)
        elif o.type == "BOOL":
            assert "(on, off)" in paragraph, o.key
        elif o.type != "STR":
            assert "(%s to %s)" % (o.least, o.most) in paragraph, o.key


def test_the_sample_has_no_other_option(built):
    keys = re.findall(r"^(?:; )?([a-z]\w*) =", read(SAMPLE), re.M)
    assert sorted(keys) == sorted(o.key for o in built)


def test_the_sample_is_right_with_all_its_options_set(tmp_path):
    text, n = re.subn(r"^; (\w+ =)", r"\1", read(SAMPLE), flags=re.M)
    assert n > 20
    # Only root may have workers of another user.
    text = re.sub(r"^user = .*", "user = " +
                  pwd.getpwuid(os.geteuid()).pw_name, text, flags=re.M)
    ini = tmp_path / "kvproxy.ini"
    ini.write_text(text)
    said = run(PROGRAM, "-t", "-c", str(ini))
    assert said.endswith("%s: ok\n" % ini) and "not built" not in said


def test_h_has_every_option_of_the_core_with_range_and_default(options):
    said = run(PROGRAM, "-h")
    # Many values stand on a line of their own.
    found = re.findall(r"^  (\w+)(?: = (\S+))?(?:\s+\(([^)]*)\))?"
                       r"( \[not built yet\])?\n      (.*)$", said, re.M)
    wanted = []
    for o in options:
        if o.table == "extension":
            continue
        # -h gives no paths: they depend on where it is installed.
        default = "" if o.default == "-" else o.default
        values = {"STR": "", "BOOL": "on|off", "ENUM": o.names}.get(
            o.type, "%s to %s" % (o.least, o.most))
        later = " [not built yet]" if o.when == "LATER" else ""
        wanted.append((o.key, default, values, later, o.sentence))
    assert found == wanted


@pytest.mark.parametrize("page", [PROGRAM_PAGE, FILE_PAGE],
                         ids=os.path.basename)
def test_mandoc_finds_no_fault(page):
    assert run("mandoc", "-T", "lint", "-W", "warning", page) == ""


def test_the_files_in_the_manual_are_right(tmp_path):
    files = [text for text in re.findall(
        r"^\.Bd -literal.*\n((?s:.*?))^\.Ed$", read(FILE_PAGE), re.M)
        if text.startswith("[")]
    assert len(files) > 2
    for i, text in enumerate(files):
        ini = tmp_path / ("%d.ini" % i)
        ini.write_text(text)
        assert run(PROGRAM, "-t", "-c", str(ini)).endswith(": ok\n")


# The program


def takes(command, letter):
    """Does COMMAND know the option LETTER, perhaps with an argument?"""
    done = subprocess.run(command + ["-" + letter, "memcached"],
                          stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, universal_newlines=True,
                          timeout=30)
    return "invalid option -- '%s'" % letter not in done.stderr


def test_every_option_of_the_command_line_is_in_the_manual(running):
    check = [PROGRAM, "-t", "-c", running.ini]
    route = [PROGRAM, "route", "key", "-c", running.ini]
    status = [PROGRAM, "status", "-c", running.ini]
    letters = string.ascii_letters + string.digits
    for command, section in ((check, "The program"),
                             (route, "Where a key goes"),
                             (status, "What it is doing")):
        known = {c for c in letters if takes(command, c)}
        if command == status:
            known.add("-")	# a word follows
            assert run(*status, "--json").startswith("{")
        said = page_words(PROGRAM_PAGE, section, "Fl")
        assert known == {words[0] for words in said}
    usage = run(PROGRAM, "-h").split("\n\n")[0]
    synopsis = run("mandoc", "-T", "ascii", PROGRAM_PAGE)
    synopsis = re.sub(".\b", "", synopsis).split("SYNOPSIS\n")[1]
    synopsis = synopsis.split("\n\n")[0]
    assert usage.replace("usage:", "").lower().split() == synopsis.split()


def master_signals(pid):
    """Those that the process has a handler for."""
    mask = int(re.search(r"SigCgt:\s+(\w+)",
                         read("/proc/%d/status" % pid)).group(1), 16)
    return {s.name for s in signal.Signals if mask >> (s - 1) & 1}


def test_every_signal_of_the_manual_exists(running):
    said = set(page_words(PROGRAM_PAGE, "Signals", "Dv"))
    # Those of a bug are a sanitizer's.
    known = master_signals(running.pid) - {
        "SIGCHLD", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV"}
    assert said == known


def test_every_action_of_the_control_script_is_in_the_manual():
    usage = run(os.path.join(BUILD, "sbin/kvproxy"), status=2)
    assert page_words(PROGRAM_PAGE, "The control script", "Cm") == \
        re.split(r"\s+\|\s+", usage.split(None, 2)[2].strip())


@pytest.mark.parametrize("kind, section", [
    ("", "Of all workers"), ("backends", "Of a server"),
    ("workers", "Of a worker")])
def test_every_counter_is_in_the_manual(running, kind, section):
    wanted = [name.rsplit(":", 1)[-1] for name in running.stats(kind)]
    said = page_words(PROGRAM_PAGE, section, "Li")
    if kind == "workers":
        # The others are those of all workers.
        total = page_words(PROGRAM_PAGE, "Of all workers", "Li")
        said += total[total.index("requests"):]
    assert said == wanted


def test_every_command_of_its_own_is_in_the_manual(running):
    said = page_words(PROGRAM_PAGE, "COMMANDS OF ITS OWN", "Ic")
    assert said[:2] == ["status", "stats"]
    assert running.status()
    for words in said[1:]:
        kind = words[len("stats"):].strip()
        if kind == "reset":
            running.control(lambda c: c.ask(b"stats reset\r\n",
                                            b"RESET\r\n"))
        else:
            # Nothing has been slow yet.
            assert running.stats(kind) or kind == "slow", words
