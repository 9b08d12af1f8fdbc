#!/bin/sh
# run.sh: install what is missing, build twice (plain, and with the address
# and undefined-behaviour sanitizers), run every test in both, lint, install,
# make a Debian package and try that (as root), and pack a tarball.
# The last line is "N passed, N failed"; a skipped test counts as failed.
# (netbase: a bare Debian knows no localhost.)
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
cd "$top"
passed=0
failed=0

sh etc/debian-packages.sh autoconf automake make gcc libc6-dev \
    libev-dev libiniparser-dev libcmocka-dev memcached libmemcached-tools \
    libc-ares-dev libmicrohttpd-dev prometheus python3-prometheus-client \
    mandoc netbase nutcracker pkg-config python3 python3-pytest \
    python3-pymemcache python3-pylibmc libcache-memcached-fast-perl php-cli \
    php-memcached ruby ruby-dalli shellcheck libsystemd-dev systemd logrotate \
    build-essential debhelper fakeroot faketime lintian

pass() {
	echo "ok: $*"
	passed=$((passed + 1))
}

fail() {
	echo "not ok: $*"
	failed=$((failed + 1))
}

finish() {
	echo "$passed passed, $failed failed"
	[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ] || exit 1
	exit 0
}

# configure and make in build/$1 with the options that follow.
build() (
	folder=$top/build/$1
	shift
	rm -rf "$folder"
	mkdir -p "$folder"
	cd "$folder"
	{
		"$top/configure" --enable-developer "$@" &&
			make -j"$(nproc)"
	} >build.log 2>&1 || {
		tail -n 40 build.log
		exit 1
	}
)

# Add up the results of make check in folder $1 and show what failed.
count() {
	results=$(find "$1/t" -name '*.trs' -exec sed -n \
	    's/^:test-result: //p' {} +)
	good=$(printf '%s\n' "$results" | grep -c '^PASS') || true
	bad=$(printf '%s\n' "$results" | grep -c -v -e '^PASS' -e '^$') || true
	passed=$((passed + good))
	failed=$((failed + bad))
	[ "$good" -gt 0 ] || fail "no test ran in $1"
	find "$1/t" -name '*.trs' | sort | while read -r trs; do
		grep -q '^:test-result: [^P]' "$trs" || continue
		echo "=== ${trs%.trs}.log"
		grep -v '^ok ' "${trs%.trs}.log" || true
	done
}

check() {
	folder=$top/build/$1
	echo "--- $*"
	if ! build "$@"; then
		fail "build $*"
		return
	fi
	before=$failed
	status=0
	make -C "$folder" -j"$(nproc)" check >"$folder/check.log" 2>&1 ||
		status=$?
	count "$folder"
	if [ "$status" -ne 0 ] && [ "$failed" -eq "$before" ]; then
		tail -n 40 "$folder/check.log"
		fail "make check $*"
	fi
	echo "--- $1: $passed passed, $failed failed so far"
}

# make install into nothing: what is there then starts and stops, and make
# uninstall leaves no file of it.
install_and_run() {
	to=$top/build/install
	prefix=$to/usr/local/kvproxy
	rm -rf "$to"
	port=$(PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=t python3 -c \
	    'import harness; print(harness.free_port())') &&
		make -C build/plain install DESTDIR="$to" &&
		sed "s/^port = .*/port = $port/" etc/kvproxy.ini \
		    >"$prefix/etc/kvproxy.ini" &&
		"$prefix/sbin/kvproxy" start &&
		"$prefix/sbin/kvproxy" stop &&
		cp etc/kvproxy.ini "$prefix/etc/" &&
		make -C build/plain uninstall DESTDIR="$to" &&
		[ "$(find "$to" -type f)" = "$prefix/log/kvproxy.log" ]
}

# Step $1 ended with status $2 and left build/$1.log.
judge() {
	if [ "$2" -eq 0 ]; then
		pass "$1"
	else
		tail -n 40 "build/$1.log"
		fail "$1"
	fi
}

if sh t/lint.sh; then
	pass lint
else
	fail lint
fi

if [ -e config.status ]; then
	fail "this tree is built in place; run make distclean first"
	finish
fi
if ! ./autogen.sh >autogen.log 2>&1; then
	cat autogen.log
	fail autogen.sh
	finish
fi
rm -f autogen.log
check plain
check sanitize --enable-asan --enable-ubsan

status=0
install_and_run >build/install.log 2>&1 || status=$?
judge install "$status"
status=0
sh t/package.sh >build/package.log 2>&1 || status=$?
judge package "$status"
status=0
make -C build/plain distcheck TESTS= >build/distcheck.log 2>&1 || status=$?
judge distcheck "$status"
finish
