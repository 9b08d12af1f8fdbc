#!/bin/sh
# Make ./configure from configure.ac.  Needed in a clone, not in a tarball.
set -eu
cd "$(dirname "$0")"
for tool in autoconf automake make pkg-config; do
	command -v "$tool" >/dev/null || {
		echo "autogen.sh: $tool is missing" \
		    "(Debian: apt-get install autoconf automake make" \
		    "pkg-config)" >&2
		exit 1
	}
done
mkdir -p build-aux
exec autoreconf --force --install
