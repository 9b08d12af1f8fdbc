#!/bin/sh
# package.sh [BUILD]: what make dist packs in folder BUILD (build/plain) becomes
# a Debian package, which is installed, started, asked, rotated, stopped and
# purged; nothing of it may be left.  Needs root, and a system that kvproxy is
# not installed on.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
build=${1:-$top/build/plain}
script=/etc/init.d/kvproxy
ini=/etc/kvproxy/kvproxy.ini
# The script is to act by itself, also where systemd runs.
export SYSTEMCTL_SKIP_REDIRECT=1

fail() {
	echo "package: $*" >&2
	exit 1
}

[ "$(id -u)" -eq 0 ] || fail "needs root"
# Also where only its configuration is left.
! dpkg-query -W kvproxy >/dev/null 2>&1 || fail "kvproxy is a package here"

tmp=$(mktemp -d)
memcached=
installed=

clean_up() {
	[ -z "$memcached" ] || kill "$memcached" || true
	if [ -n "$installed" ]; then
		$script stop || true
		dpkg --purge kvproxy || true
	fi
	rm -rf "$tmp"
}
trap clean_up EXIT
trap 'exit 1' HUP INT TERM

# Python's statements $1 with the tests' harness; arguments are in argv.
harness() {
	code=$1
	shift
	PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$top/t /usr/bin/python3 -c \
	    "from sys import argv
from harness import *
from harness.daemon import is_alive
$code" "$@"
}

# All that bears the package's name.
traces() {
	find /etc /lib /run /usr /var -xdev -name '*kvproxy*' \
	    ! -path "$tmp*" 2>/dev/null | sort
	getent passwd kvproxy || true
	getent group kvproxy || true
}

make_package() {
	make -C "$build" distdir distdir="$tmp/kvproxy" &&
		(cd "$tmp/kvproxy" && dpkg-buildpackage -us -uc -b) &&
		lintian --allow-root --fail-on error "$tmp"/kvproxy_*.changes
}

# Asked to do $1, the script ends with $2.
expect() {
	status=0
	$script "$1" || status=$?
	[ "$status" -eq "$2" ] || fail "$1: exit status $status, not $2"
}

# The sample, with a port, with the one server that there is, and with a log
# that has something to rotate.
configure() {
	sed -i -e "s|^port = .*|port = $port|" \
	    -e 's|^; log_level = .*|log_level = info|' \
	    -e "s|^127\.0\.0\.1:11211 |127.0.0.1:$backend |" \
	    -e '/^127\.0\.0\.1:11212 /d' $ini
}

start_memcached() {
	memcached -u root -l 127.0.0.1 -U 0 -p "$backend" &
	memcached=$!
	harness 'wait_for(lambda: not is_refused(int(argv[1])))' "$backend"
}

ask() {
	harness 'with Client(int(argv[1])) as c:
    c.ask(b"set k 0 0 1\r\nv\r\nget k\r\n",
          b"STORED\r\nVALUE k 0 1\r\nv\r\nEND\r\n")' "$port" &&
		harness 'with Client(int(argv[1])) as c:
    c.ask(b"get k\r\n", b"VALUE k 0 1\r\nv\r\nEND\r\n")' "$backend"
}

find_processes() {
	master=$(cat /run/kvproxy/kvproxy.pid)
	processes="$master $(cat "/proc/$master/task/$master/children")"
	segment=$(sed -n 's|.* \(/dev/shm/kvproxy-.*\)|\1|p' \
	    "/proc/$master/maps" | sort -u)
	[ -e "$segment" ] || fail "has no shared segment"
}

rotate() {
	logrotate --force --state "$tmp/logrotate" /etc/logrotate.d/kvproxy &&
		[ -e /var/log/kvproxy/kvproxy.log.1 ]
}

# The same by systemd, where that runs.
try_systemd() {
	[ -d /run/systemd/system ] || return 0
	systemctl start kvproxy &&
		ask &&
		systemctl reload kvproxy &&
		rotate &&
		ask &&
		systemctl stop kvproxy
}

traces >"$tmp/before"
make_package
installed=yes
dpkg -i "$tmp"/kvproxy_*.deb
[ -z "$(systemd-analyze --man=no verify kvproxy.service 2>&1)" ] || {
	systemd-analyze --man=no verify kvproxy.service || true
	fail "systemd-analyze finds fault with the unit"
}

port=$(harness 'print(free_port())')
backend=$(harness 'print(free_port())')
configure
start_memcached
expect status 3
expect reload 7
expect start 0
expect status 0
find_processes
ask
expect reload 0
rotate || fail "its log is not rotated"
ask
expect stop 0
expect status 3
try_systemd || fail "does not serve under systemd"

dpkg --purge kvproxy
installed=
# shellcheck disable=SC2086
harness 'exit(any(is_alive(int(pid)) for pid in argv[1:]))' $processes ||
	fail "a process of $processes is left"
[ ! -e "$segment" ] || fail "$segment is left"
traces >"$tmp/after"
diff "$tmp/before" "$tmp/after" || fail "something was left behind"
