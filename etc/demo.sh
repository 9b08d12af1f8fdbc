#!/bin/sh
# demo.sh [--check]: kvproxy in front of two memcached servers, all on this
# machine.  Builds what is not built and stops what it started.  With --check
# it asks kvproxy by itself and exits 0 or 1.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
build=$top/build/demo

case ${1-} in
'' | --check) ;;
*)
	echo "usage: sh $0 [--check]" >&2
	exit 2
	;;
esac
check=${1-}

fail() {
	echo "demo: $*" >&2
	exit 1
}

sh "$top/etc/debian-packages.sh" autoconf automake make gcc libc6-dev \
    libev-dev libiniparser-dev memcached netcat-openbsd \
    libc-ares-dev libmicrohttpd-dev pkg-config

tmp=$(mktemp -d)
pids=

stop_all() {
	# shellcheck disable=SC2086
	[ -z "$pids" ] || kill $pids 2>/dev/null || true
	wait
	rm -rf "$tmp"
}
trap stop_all EXIT
trap 'exit 130' INT
trap 'exit 143' HUP TERM

build_it() {
	{ [ -x "$top/configure" ] || "$top/autogen.sh"; } &&
		mkdir -p "$build" &&
		cd "$build" &&
		{ [ -e Makefile ] || "$top/configure"; } &&
		make -j"$(nproc)"
}

[ ! -e "$top/config.status" ] ||
	fail "this tree is built in place; run make distclean first"
echo "building in $build"
(build_it) >"$tmp/build.log" 2>&1 || {
	tail -n 30 "$tmp/build.log" >&2
	fail "the build failed"
}

serves() {
	nc -z 127.0.0.1 "$1" >/dev/null 2>&1
}

# The first port that nobody serves, $1 or one after it.
free_port() {
	port=$1
	while serves "$port"; do
		port=$((port + 1))
	done
	echo "$port"
}

# Wait until process $1, that is called $3, serves port $2.
wait_serving() {
	tenths=100
	until serves "$2"; do
		kill -0 "$1" 2>/dev/null || fail "$3 did not start"
		[ "$tenths" -gt 0 ] || fail "$3 does not serve port $2"
		tenths=$((tenths - 1))
		sleep 0.1
	done
}

# A real server on port $1.
start_memcached() {
	set -- -l 127.0.0.1 -U 0 -p "$1"
	[ "$(id -u)" -ne 0 ] || set -- -u root "$@"
	memcached "$@" >>"$tmp/memcached.log" 2>&1 &
	pids="$pids $!"
}

first=$(free_port 11211)
start_memcached "$first"
wait_serving "$!" "$first" memcached
second=$(free_port $((first + 1)))
start_memcached "$second"
wait_serving "$!" "$second" memcached
listen=$(free_port 55669)
[ "$listen" = 55669 ] || echo "port 55669 is taken; kvproxy takes $listen"

# The sample file, with these ports and with its log and pid file in $tmp.
sed -e "s|^port = .*|port = $listen|" \
    -e "s|^; log_path = .*|log_path = $tmp/kvproxy.log|" \
    -e "s|^; pid_file = .*|pid_file = $tmp/kvproxy.pid|" \
    -e "s|^127\.0\.0\.1:11211 |127.0.0.1:$first |" \
    -e "s|^127\.0\.0\.1:11212 |127.0.0.1:$second |" \
    "$top/etc/kvproxy.ini" >"$tmp/kvproxy.ini"
"$build/bin/kvproxy" -c "$tmp/kvproxy.ini" &
kvproxy=$!
pids="$pids $kvproxy"
wait_serving "$kvproxy" "$listen" kvproxy

# What port $1 answers to standard input, which ends in quit; without CR.
ask() {
	nc -w 5 127.0.0.1 "$1" | tr -d '\r'
}

# Like it, but $1 what to send and $2 what to get.
expect() {
	printf '%b' "$1" | ask "$listen" >"$tmp/answer"
	printf '%b' "$2" | cmp -s - "$tmp/answer" || {
		printf 'sent:\n%b\nexpected:\n%b\ngot:\n' "$1" "$2"
		cat "$tmp/answer"
		fail "a wrong answer"
	} >&2
}

n_items() {
	printf 'stats\r\nquit\r\n' | ask "$1" | sed -n 's/^STAT curr_items //p'
}

check_it() {
	sets='' stored='' gets='' values=''
	for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
		sets="${sets}set demo:$i 0 60 7\r\nvalue$((10 + i))\r\n"
		stored="${stored}STORED\n"
		gets="${gets}get demo:$i\r\n"
		values="${values}VALUE demo:$i 0 7\nvalue$((10 + i))\nEND\n"
	done
	expect "${sets}quit\r\n" "$stored"
	expect "${gets}quit\r\n" "$values"
	for port in $first $second; do
		[ "$(n_items "$port")" -gt 0 ] ||
			fail "the server on port $port got no key"
	done
	printf 'status\r\nquit\r\n' | ask "$listen" | tee "$tmp/status"
	for line in 'Number of processed requests \[40\]' \
	    'Number of requests failed \[0\]' \
	    "  - 127.0.0.1:$first \\[0\\]" "  - 127.0.0.1:$second \\[0\\]" \
	    'All of offline hosts \[0\] '; do
		grep -q "^$line\$" "$tmp/status" ||
			fail "status lacks the line: $line"
	done
	echo "demo: 20 keys set and got, over two servers: ok"
}

if [ -n "$check" ]; then
	check_it
	exit 0
fi

cat <<END

kvproxy serves 127.0.0.1:$listen, in front of memcached on $first and $second.
In another terminal:

    nc 127.0.0.1 $listen          (or telnet, or any memcached client)

and type

    set greeting 0 0 5
    hello
    get greeting
    status
    quit

Ctrl-C stops all of it.
END
wait "$kvproxy" || fail "kvproxy has ended; its log: $(cat "$tmp/kvproxy.log")"
