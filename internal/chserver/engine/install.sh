#!/bin/sh
# Installs the ClickHouse engine that tests and examples run as a local server: install.sh [folder]
#
# It is the shared library of the npm package named in package.json, pinned by hash in
# package-lock.json, and goes to the folder, or to <repository>/.engine. The lock file holds no
# download addresses, so npm's own configuration decides where the package comes from.
#
# A second call finds the stamp of the first and returns at once; concurrent calls wait
# for one another. Any failure is told on standard error and gives a non-zero status.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
target=${1:-$(cd "$here/../../.." && pwd)/.engine}
library=$target/node_modules/@chdb/lib-linux-x64-gnu/libchdb.so
stamp=$target/installed-lock.json

fail() {
	echo "engine: $1" >&2
	echo "engine: ClickHouse is not installed; tests and examples that need it will not run" >&2
	echo "engine: (a server of your own can be named in CLICKHOUSE_DSN instead)" >&2
	exit 1
}

installed() {
	[ -s "$library" ] && cmp -s "$here/package-lock.json" "$stamp"
}

if installed; then
	exit 0
fi

platform=$(uname -s)/$(uname -m)
case $platform in
Linux/x86_64 | Linux/amd64) ;;
*) fail "there is an engine for Linux/x86_64 only, this machine is $platform" ;;
esac
for program in npm flock cmp; do
	command -v "$program" >/dev/null 2>&1 || fail "the program $program is missing"
done

mkdir -p "$target" || fail "cannot create $target"
exec 9>"$target/lock"
flock 9 || fail "cannot lock $target/lock"
if installed; then # another call did it meanwhile
	exit 0
fi

echo "engine: installing ClickHouse into $target (about 180 MB to fetch, 570 MB on disk)" >&2
rm -f "$stamp"
cp "$here/package.json" "$here/package-lock.json" "$target/" || fail "cannot write to $target"
# File descriptor 9 is closed for npm: a process it leaves behind must not keep the lock.
(cd "$target" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error 9>&-) >&2 ||
	fail "npm ci failed in $target (see the message above)"
[ -s "$library" ] || fail "npm ci succeeded but $library is not there"
cp "$here/package-lock.json" "$stamp"
echo "engine: installed" >&2
