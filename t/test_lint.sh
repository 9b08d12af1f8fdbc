#!/bin/sh
# test_lint.sh: lint.sh finds each of the faults it is for, and no other.
set -eu

lint=$(cd "$(dirname "$0")" && pwd)/lint.sh
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
cd "$tree"
count=0

# Start over with a tree that has no fault.
clean() {
	rm -rf "${tree:?}"/*
	mkdir -p master worker shared ext/memcached etc t/bench
	printf '#include "shared/a.h"\n\nint\na_get(void)\n{\n\treturn 1;\n}\n' \
	    >shared/a.c
	printf '/* fork() and exit() are said, not done. */\nint\ta_get(void);\n' \
	    >shared/a.h
	printf 'exec recv(TO''DO)    \n' >t/bench/notes.c
}

say() {
	count=$((count + 1))
	echo "$1 $count - $2"
}

# Lint says $2 and nothing else of the tree that stands; $1 names the test.
expect() {
	status=0
	said=$(sh "$lint" "$tree") || status=$?
	if [ "$said" = "$2" ] && [ "$status" -eq "${3-1}" ]; then
		say ok "$1"
	else
		say 'not ok' "$1"
		printf 'expected: %s\nsaid: %s\n' "$2" "$said" | sed 's/^/# /'
	fi
	clean
}

# The line $3 (printf's format) in file $2 is fault $4.
finds() {
	# shellcheck disable=SC2059
	printf "$3\n" >"$2"
	expect "$1" "$2:${5-1}: $4"
}

clean
expect "a clean tree is clean" "" 0
finds "blanks at the end" shared/b.c 'int x; ' "blanks at the end"
finds "a note to do something" master/b.c '/* TO''DO */' "unfinished work"
finds "the same in a manual" README.md 'FIX''ME: write it' "unfinished work"
finds "code put aside" worker/b.c '#if'' 0' "dead code"
finds "a path outside" t/b.py 'FOLDER = "/wo''rk/main"' \
    "a path outside the repository"
finds "80 columns, tabs count 8" shared/b.c \
    '/*\t\t\t\t\t\t\t\t\t\t*/' "wider than 80 columns"
finds "eight blanks" shared/b.c 'int a[] = {\n        1\n};' \
    "indented with blanks, not tabs" 2
finds "four blanks after a whole line" shared/b.c \
    'int\nb(void)\n{\n    return 0;\n}' "indented with blanks, not tabs" 4
finds "an include without its folder" shared/b.c '#include "a.h"' \
    'include "a.h": name its folder
shared/b.c:1: shared/ may not include a.h'
finds "shared/ includes worker/" shared/b.c '#include "worker/w.h"' \
    "shared/ may not include worker/w.h"
finds "shared/ includes libev" shared/b.c '#include <ev.h>' \
    "shared/ may not include ev.h"
finds "worker/ includes master/" worker/b.c '#include "master/m.h"' \
    "worker/ may not include master/m.h"
finds "worker/ includes an extension" worker/b.c \
    '#include "ext/memcached/m.h"' "worker/ may not include ext/memcached/m.h
worker/b.c:1: worker/ knows no protocol by name"
finds "worker/ names a protocol" worker/b.c 'char b[] = "Redis";' \
    "worker/ knows no protocol by name"
finds "master/ includes a worker's inside" master/b.c \
    '#include "worker/io.h"' "master/ may not include worker/io.h"
finds "an extension includes shared/" ext/memcached/b.c \
    '#include "shared/a.h"' "an extension may not include shared/a.h"
finds "an extension includes sockets" ext/memcached/b.c \
    '#include <sys/socket.h>' "an extension may not include sys/socket.h"
finds "the contract includes ours" ext/kvp_ext.h '#include "shared/a.h"' \
    "kvp_ext.h may not include shared/a.h"
finds "iniparser elsewhere" shared/b.c '#include <iniparser/iniparser.h>' \
    "iniparser belongs to shared/config.c"
finds "a test is included" ext/memcached/b.c '#include "t/b.h"' \
    "nobody else includes t/
ext/memcached/b.c:1: an extension may not include t/b.h"

mkdir -p shared
printf '#include "shared/a.h"\n#include "shared/b.h"\n' >shared/b.c
: >shared/b.h
expect "another header before its own" \
    "shared/b.c:1: includes its own header shared/b.h first"

# A call outside its owner: file, call, owner.
while read -r file call owner; do
	words=$(awk -v w="$call" '/^\town\("/ {
		split($0, part, "\"")
		if (("|" part[2] "|") ~ ("\\|" w "\\|"))
			print part[2]
	}' "$lint")
	finds "$call( in $file" "$file" \
	    "int\nb(void)\n{\n\treturn $call(1);\n}" \
	    "$words belongs to $owner" 4
done <<END
worker/b.c fork master/child.c
worker/b.c recv worker/io.c and shared/fdpass.c
master/b.c send worker/io.c and shared/fdpass.c
ext/memcached/b.c writev worker/io.c and shared/fdpass.c
shared/b.c shm_open shared/shm.c
shared/b.c dlsym worker/extload.c
worker/b.c exit the mains and shared/log.c
worker/b.c _exit whoever forks and shared/log.c
shared/b.c abort shared/log.c
master/b.c system nobody
END

printf 'int\nb(struct b *b)\n{\n\treturn b->send(1) + b->fn.recv("exit(");\n}\n' \
    >master/b.c
expect "a member of that name is no call" "" 0
finds "a thread" shared/b.c 'static pthread_mutex_t b;' "no threads"
finds "a typedef for a struct" shared/b.h 'typedef struct b b;' \
    "no typedef for a struct"
finds "the return type beside the name" shared/b.c \
    'int b(void);\n\nstatic int b(void)\n{\n}' \
    "the return type stands on a line of its own" 3
finds "the same over two lines" shared/b.c 'static int\tb(int a,\n    int c)\n{\n}' \
    "the return type stands on a line of its own"

printf 'a_SOURCES = shared/a.c \\\n\tshared/a.h\nTESTS = t/test_a\n' >Makefile.am
: >t/test_a.c
: >t/test_b.c
rm t/bench/notes.c
expect "a file that no list names" "t/test_b.c:1: not named in Makefile.am"

printf 'if true\n' >etc/b.sh
sh "$lint" "$tree" >said || true
if grep -q '^etc/b.sh:1: not a script for sh$' said; then
	say ok "a broken script"
else
	say 'not ok' "a broken script"
fi
echo "1..$count"
