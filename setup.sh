#!/bin/sh
# Makes .venv from the lock, with nothing but a Python at hand.
# usage: setup.sh PYTHON MARK     (MARK is written last; without it the set-up is not whole)
set -eu

python=$1
mark=$2

say() { printf 'setup: %s\n' "$1"; }
fail() {
    printf 'setup: %s\n' "$1" >&2
    exit 1
}
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo -n "$@"; else return 1; fi
}

[ -n "$python" ] || fail "no python3 found; install Python 3.11 or 3.12"
"$python" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' ||
    fail "$python is $("$python" -V 2>&1); Python 3.11 or 3.12 is needed (try: make setup PYTHON=python3.11)"

rm -rf .tools .venv
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    # Debian and Ubuntu keep these two in a package of their own.
    package=python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv
    say "installing $package"
    { as_root apt-get update -qq && as_root apt-get install -y -qq "$package"; } >/dev/null 2>&1 ||
        fail "$python has no venv module, and it could not be installed; run: apt-get install $package"
fi

say "making the environment (once)"
"$python" -m venv .tools
.tools/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r tools.lock.txt
.tools/bin/uv venv --quiet --no-project --python "$python" .venv
.tools/bin/uv pip sync --quiet --require-hashes --python .venv/bin/python requirements.lock.txt
.tools/bin/uv pip install --quiet --offline --no-deps --no-build-isolation --python .venv/bin/python --editable .
.venv/bin/python -c 'import firnline'
# The NPU compilers ask for an older NumPy: an environment of their own.
.venv/bin/python -m edge.toolchains install npu ||
    say "could not install the NPU tools; targets and tests that need them say so"
# Servers that tests start for themselves, and a second compiler and emulator for microcontrollers
# (QEMU alone models the Cortex-M55); without them what needs them skips or says so.
debian=
command -v redis-server >/dev/null || debian="$debian redis-server"
ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || command -v postgres >/dev/null || debian="$debian postgresql"
command -v qemu-system-arm >/dev/null || debian="$debian qemu-system-arm"
command -v arm-none-eabi-gcc >/dev/null || debian="$debian gcc-arm-none-eabi"
command -v softhsm2-util >/dev/null || debian="$debian softhsm2"
if [ -n "$debian" ] && command -v apt-get >/dev/null; then
    say "installing$debian"
    # Run level 1 keeps the packages from starting servers of their own.
    export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
    as_root apt-get update -qq >/dev/null 2>&1 || true
    # One by one: a package that this system does not have keeps no other from coming.
    for package in $debian; do
        as_root env RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "$package" >/dev/null 2>&1 ||
            say "could not install $package; what needs it will skip or say so"
    done
fi
# SQLite does not make folders, and a plain `feast apply` keeps its registry here.
mkdir -p .firnline/feast
: >"$mark"
say "ready"
