#!/usr/bin/env bash
# Installs the Python readers of requirements.txt, pinned by hash and without what they need for drawing, and prints the path of their Python. They are kept in the
# user's cache folder, by the hash of that file. It needs Python 3.11 and pip; where they cannot be installed, it says
# why and ends with status 3.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
leave_out() {
	echo "LEFT OUT: the readers of files, since $*" >&2
	exit 3
}
command -v python3 >/dev/null || leave_out "python3 is missing"
python3 -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || leave_out "$(python3 --version) is not 3.11, for which the versions are pinned"
python3 -c 'import venv, ensurepip' 2>/dev/null || leave_out "python3 has no venv"

target=${XDG_CACHE_HOME:-$HOME/.cache}/marketprism/readers-$(sha256sum "$here/requirements.txt" | cut -c1-16)
if [ ! -e "$target/installed" ]; then
	rm -rf "$target"
	python3 -m venv "$target" >&2
	"$target/bin/pip" install --quiet --no-compile --disable-pip-version-check --no-deps --require-hashes --only-binary=:all: \
		-r "$here/requirements.txt" >&2 || leave_out "pip cannot install them"
	touch "$target/installed"
fi
echo "$target/bin/python"
