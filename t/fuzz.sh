#!/bin/sh
# fuzz.sh [SECONDS [TARGET...]]: build the fuzz targets with libFuzzer, and
# let each look for faults in its parser for so long (60).
# fuzz.sh keep [TARGET...]: what was found that is new goes to t/corpus/.
# What ends a target stands in build/fuzz/; give it to the target to see it
# again.  (Debian: apt-get install clang libclang-rt-14-dev)
set -eu

cd "$(dirname "$0")/.."
build=build/fuzz
what=${1-60}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- text binary meta_backend text_backend

UBSAN_OPTIONS=print_stacktrace=1
export UBSAN_OPTIONS

cflags="-std=gnu11 -g -O2 -D_GNU_SOURCE -I. -fno-omit-frame-pointer
    -fsanitize=address,undefined -fno-sanitize-recover=all"

# compile SOURCE [OPTION]
compile() {
	object=$(echo "${1%.c}.o" | tr / _)
	# shellcheck disable=SC2086
	clang $cflags ${2-} -c "$1" -o "$build/obj/$object"
}

# Only what is in the extension counts as covered.
compile_common() {
	rm -rf "$build/obj"
	mkdir -p "$build/obj"
	for source in ext/memcached/*.c; do
		compile "$source" -fsanitize=fuzzer-no-link
	done
	compile t/fuzz_common.c
	compile t/fuzz_command.c
	compile t/fuzz_replies.c
}

link() {
	# shellcheck disable=SC2086
	clang $cflags -c "t/fuzz_$1.c" -o "$build/$1.o"
	# shellcheck disable=SC2086
	clang $cflags -fsanitize=fuzzer "$build/$1.o" "$build/obj"/*.o \
	    -o "$build/fuzz_$1"
}

# The dictionary is the words of both directions; long inputs find little.
run() {
	"$build/fuzz_$1" -max_len=4096 -max_total_time="$what" -timeout=20 \
	    -use_value_profile=1 -print_final_stats=1 -dict=t/fuzz.dict \
	    -artifact_prefix="$build/$1-" "$build/corpus/$1" "t/corpus/$1" \
	    >"$build/$1.log" 2>&1 || {
		cat "$build/$1.log"
		return 1
	}
	grep '^Done' "$build/$1.log"
}

# Only what reaches code that nothing else reaches, under a short name; each
# file that is kept is a test.
keep() {
	rm -rf "$build/new"
	mkdir "$build/new"
	cp "t/corpus/$1"/* "$build/new"
	"$build/fuzz_$1" -set_cover_merge=1 -use_counters=0 -max_len=4095 \
	    "$build/new" "$build/corpus/$1" >"$build/$1.log" 2>&1
	for file in "$build/new"/*; do
		name=$(basename "$file")
		[ ${#name} -ne 40 ] || name=$(echo "$name" | cut -c 1-8)
		cp "$file" "t/corpus/$1/$name"
	done
	find "t/corpus/$1" -type f | wc -l
}

compile_common
for target; do
	echo "--- $target"
	mkdir -p "$build/corpus/$target"
	link "$target"
	if [ "$what" = keep ]; then
		keep "$target"
	else
		run "$target"
	fi
done
