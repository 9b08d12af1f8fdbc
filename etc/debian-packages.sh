#!/bin/sh
# debian-packages.sh PACKAGE...: install those that are missing.  No service
# that comes with one is started.
set -eu

if ! command -v dpkg-query >/dev/null; then
	echo "not a Debian system; this needs the like of: $*" >&2
	exit 0
fi

missing=
for package; do
	case $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) in
	*' installed') ;;
	*) missing="$missing $package" ;;
	esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
	echo "packages are missing; as root: apt-get install$missing" >&2
	exit 1
fi

echo "installing$missing"
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
	trap 'rm -f $policy' EXIT
	trap 'exit 1' HUP INT TERM
	printf '#!/bin/sh\nexit 101\n' >$policy
	chmod 755 $policy
fi
export DEBIAN_FRONTEND=noninteractive
{
	apt-get -q update
	# shellcheck disable=SC2086
	apt-get -q -y --no-install-recommends install $missing
} </dev/null
