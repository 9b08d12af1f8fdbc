#!/bin/sh
# lint.sh [DIR]: what the house style asks for and a machine can see, a line
# "FILE:LINE: what" a fault; 1 when there is one.  Needs no build.  t/bench/
# and the original's sample are left as they came.
set -eu
cd "${1:-$(dirname "$0")/..}"

out=$(mktemp)
trap 'rm -f "$out" "$out".*' EXIT

c_files=$(find master worker shared ext t -name '*.[ch]' 2>/dev/null |
	grep -v '^t/bench/' | sort) || true
scripts=$(find autogen.sh .ci/run debian etc t \( -name '*.sh' \
	-o -name '*.init.in' -o -name run -o -name '*.postinst' \
	-o -name '*.postrm' -o -name '*.prerm' \) 2>/dev/null | sort) || true
others=$(find ./*.md ./*.am ./*.ac .editorconfig .clang-format .gitignore \
	etc t \( -name '*.py' -o -name '*.php' -o -name '*.pl' -o -name '*.rb' \
	-o -name '*.md' -o -name '*.ini' -o -name '*.[58]' -o -name '*.am' \
	-o -name '*.ac' -o -name '.?*' \) 2>/dev/null | grep -v '^t/bench/' |
	grep -v -x t/original-kvproxy.ini | sed 's|^\./||' | sort) || true

# Every text: blanks, leftovers, the way to somebody's own machine.
cat >"$out.text" <<'AWK'
function fault(what) { print FILENAME ":" FNR ": " what }
/[ \t]$/ { fault("blanks at the end") }
/(^|[^A-Za-z0-9_])(TO[D]O|FIX[M]E|X[X]X)([^A-Za-z0-9_]|$)/ \
	{ fault("unfinished work") }
/^[ \t]*#[ \t]*if[ \t]+0([ \t]|$)/ { fault("dead code") }
/\/[w]ork([^A-Za-z]|$)/ || /\.\.\/[s]hared/ \
	{ fault("a path outside the repository") }
AWK

# C: who includes whom, who owns what, and the form.
cat >"$out.c" <<'AWK'
function fault(what) { print FILENAME ":" FNR ": " what }

# A whole line of the file, without comments; strings stay.
function strip_comments(s,    r, c, two, i, n) {
	r = ""
	n = length(s)
	for (i = 1; i <= n; i++) {
		c = substr(s, i, 1)
		two = substr(s, i, 2)
		if (in_comment) {
			if (two == "*/") { in_comment = 0; i++ }
		} else if (in_string != "") {
			r = r c
			if (c == "\\") { i++; r = r substr(s, i, 1) }
			else if (c == in_string) in_string = ""
		} else if (two == "/*") {
			in_comment = 1
			i++
		} else if (two == "//") {
			break
		} else {
			if (c == "\"" || c == "'") in_string = c
			r = r c
		}
	}
	in_string = ""
	return r
}

# Does the code call one of WORDS ("a|b")?  Members of structs do not count.
function calls(words) {
	return code ~ ("(^|[^A-Za-z0-9_.>])(" words ")[ \t]*\\(")
}

function own(words, owners, who) {
	if (folder != "t" && calls(words) && file !~ ("^(" owners ")$"))
		fault(words " belongs to " who)
}

function width(s,    i, n, w) {
	n = length(s)
	w = 0
	for (i = 1; i <= n; i++)
		w = substr(s, i, 1) == "\t" ? w + 8 - w % 8 : w + 1
	return w
}

function check_include(name, quoted) {
	n_includes++
	if (quoted && n_includes == 1)
		first = name
	if (quoted && name !~ /\//)
		fault("include \"" name "\": name its folder")
	if (folder == "t")
		return
	if (name ~ /^t\//)
		fault("nobody else includes t/")
	if (name ~ /cmocka/)
		fault("cmocka.h is for t/")
	if (name ~ /iniparser|dictionary\.h/ && file != "shared/config.c")
		fault("iniparser belongs to shared/config.c")
	if (name ~ /^ares/ && ++n_ares > 1)
		fault("ares.h belongs to one file")
	if (file == "ext/kvp_ext.h") {
		if (name !~ /^(stddef|stdint|stdbool|sys\/types)\.h$/)
			fault("kvp_ext.h may not include " name)
	} else if (folder == "shared") {
		if (quoted && name !~ /^shared\// ||
		    name ~ /^(ev|ares|microhttpd)\.h$/)
			fault("shared/ may not include " name)
	} else if (folder == "worker") {
		if (quoted && name !~ /^(shared|worker)\// &&
		    name != "ext/kvp_ext.h" || name ~ /^microhttpd/)
			fault("worker/ may not include " name)
	} else if (folder == "master") {
		if (quoted && name !~ /^(shared|master)\// &&
		    name !~ /^worker\/(worker|extload)\.h$/ ||
		    name ~ /^ares/ ||
		    name ~ /^microhttpd/ && file != "master/metrics.c" ||
		    name ~ /^systemd/ && file != "master/notify.c")
			fault("master/ may not include " name)
	} else if (folder == "ext") {
		if (quoted && name != "ext/kvp_ext.h" &&
		    substr(name, 1, length(protocol)) != protocol ||
		    !quoted && name !~ \
		    /^(string|stdlib|limits|inttypes|stdint|stddef|stdbool|time)\.h$/)
			fault("an extension may not include " name)
	}
}

function file_ends() {
	if (FILENAME_last ~ /\.c$/ && (own_header in header) &&
	    first != own_header)
		print FILENAME_last ":1: includes its own header " \
		    own_header " first"
}

BEGIN {
	for (i = 1; i < ARGC; i++)
		if (ARGV[i] ~ /\.h$/)
			header[ARGV[i]] = 1
}

FNR == 1 {
	if (NR > 1)
		file_ends()
	file = FILENAME_last = FILENAME
	folder = file
	sub(/\/.*/, "", folder)
	protocol = file
	sub(/[^\/]*$/, "", protocol)
	own_header = file
	sub(/\.c$/, ".h", own_header)
	in_comment = n_includes = in_head = 0
	first = last = ""
}

{
	was_in_comment = in_comment
	text = strip_comments($0)
	code = text
	gsub(/\\./, "", code)
	gsub(/"[^"]*"/, "\"\"", code)
	gsub(/'[^']*'/, "''", code)
	sub(/[ \t]+$/, "", code)
}

width($0) > 80 { fault("wider than 80 columns") }
/^\t*        / || /^\t* +\t/ || /^    / && !was_in_comment && code != "" &&
    last ~ /[;{}]$/ { fault("indented with blanks, not tabs") }

text ~ /^[ \t]*#[ \t]*include[ \t]*["<]/ {
	name = text
	quoted = name ~ /include[ \t]*"/
	sub(/^[^"<]*["<]/, "", name)
	sub(/[">].*/, "", name)
	check_include(name, quoted)
}

{
	own("shm_open|shm_unlink", "shared/shm\\.c", "shared/shm.c")
	own("dlopen|dlsym|dlclose|dlerror", "worker/extload\\.c",
	    "worker/extload.c")
	# main.c forks once, to go into the background; check.c for a child
	# that only looks at a file.
	own("fork", "master/(child|main|check)\\.c", "master/child.c")
	own("vfork|clone|system|popen|posix_spawnp?", "-", "nobody")
	own("recv|recvfrom|recvmsg|send|sendto|sendmsg|readv|writev|sendfile",
	    "worker/io\\.c|shared/fdpass\\.c",
	    "worker/io.c and shared/fdpass.c")
	own("exit|quick_exit", "master/main\\.c|shared/log\\.c",
	    "the mains and shared/log.c")
	own("_exit|_Exit",
	    "master/(slot|main|check|metrics_child)\\.c|shared/log\\.c",
	    "whoever forks and shared/log.c")
	own("abort", "shared/log\\.c", "shared/log.c")
}

code ~ /(^|[^A-Za-z0-9_])(pthread_[a-z]|thrd_create)/ ||
    text ~ /include[ \t]*<(pthread|threads)\.h>/ { fault("no threads") }
folder == "worker" && tolower(text) ~ /memcached|redis/ {
	fault("worker/ knows no protocol by name")
}
folder != "t" && code ~ /^typedef struct/ { fault("no typedef for a struct") }

# A definition whose return type stands on the line of its name: a head at
# the start of a line, and then a brace before any semicolon.
file ~ /\.c$/ && !in_head &&
    code ~ /^[A-Za-z_][A-Za-z0-9_ \t*]*[ \t*][A-Za-z_][A-Za-z0-9_]*\(/ &&
    code !~ /__attribute__|^typedef|^(else|return|case)[ \t]/ {
	in_head = FNR
}
in_head {
	if (code ~ /^\{/ || code ~ /\)[ \t]*\{/) {
		print FILENAME ":" in_head \
		    ": the return type stands on a line of its own"
		in_head = 0
	} else if (code ~ /[;=]/) {
		in_head = 0
	}
}

code ~ /[^ \t]/ { last = code }

END { if (NR > 0) file_ends() }
AWK

find master worker shared ext etc t \( -name '*.[ch]' -o -name '*.py' \
	-o -name '*.php' -o -name '*.pl' -o -name '*.rb' -o -name '*.sh' \
	-o -name '*.ini' -o -name '*.in' -o -name '*.[58]' \) 2>/dev/null |
	sort >"$out.files"

# shellcheck disable=SC2086
{
	awk -f "$out.text" $c_files $scripts $others </dev/null
	awk -f "$out.c" $c_files </dev/null
	# What no list names is neither built, run nor packed.
	[ ! -e Makefile.am ] ||
		tr -s '\\ \t' '\n' <Makefile.am | awk '
			FNR == NR { named[$0] = 1; next }
			!($0 in named) && !(/^t\/test_.*\.c$/ &&
			    substr($0, 1, length($0) - 2) in named) {
				print $0 ":1: not named in Makefile.am"
			}
		' - "$out.files"
	for script in $scripts; do
		sh -n "$script" 2>&1 || echo "$script:1: not a script for sh"
	done
	if command -v shellcheck >/dev/null; then
		[ -z "$scripts" ] || shellcheck -f gcc $scripts || true
	fi
} >"$out"
cat "$out"
[ ! -s "$out" ]
