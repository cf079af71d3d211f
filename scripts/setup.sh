#!/bin/sh
# Brings everything that the project needs: system packages, .venv, pinned Python packages, the project itself.
# Says what it does, does nothing when nothing has changed, and ends with status 2 and the one command to run
# where it may not install a system package itself. Called by `make setup` from the checkout's root.
#
# PYTHON=python3.12 make setup     takes that interpreter instead of the first one that is new enough
# sh scripts/setup.sh test         brings what the tests need besides: a browser without a window, and Tcl
set -eu

constraints=requirements/constraints.txt
stamp=.venv/.setup

say() { printf '%s\n' "setup: $*"; }
fail() { printf '%s\n' "setup: $*" >&2; exit 2; }

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if new_enough "$candidate"; then
            echo "$candidate"
            return
        fi
    done
}

# The Debian packages that are missing. Verilator is a Perl script that writes C++ and runs make and g++.
missing_packages() {
    command -v iverilog >/dev/null || printf 'iverilog '
    command -v g++ >/dev/null || printf 'g++ '
    command -v make >/dev/null || printf 'make '
    perl -MPod::Usage -MGetopt::Long -e 1 >/dev/null 2>&1 || printf 'perl '
    "$python" -c 'import ensurepip, venv' >/dev/null 2>&1 || printf '%s-venv ' "$(
        "$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')"
}

install_packages() {
    wanted="$*"
    if ! command -v apt-get >/dev/null; then
        fail "these are missing: $wanted; install them with this system's package manager, then run make again"
    elif [ "$(id -u)" = 0 ]; then
        as_root=
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        as_root='sudo -n'
    else
        fail "these are missing: $wanted; run: sudo apt-get install -y $wanted"
    fi
    say "installing from the distribution: $wanted"
    export DEBIAN_FRONTEND=noninteractive
    # ccache is no need, but makes every second Verilator build a matter of a second.
    $as_root apt-get update -qq && $as_root apt-get install -y -qq --no-install-recommends $wanted ccache >/dev/null ||
        fail "could not install $wanted; run: sudo apt-get install -y $wanted"
}

# What pip downloads by itself on Linux is the CUDA build of PyTorch, several GB larger. The CPU build is taken
# from the package sources that this machine is configured with if they have it, else from PyTorch's own index.
install_torch() {
    version=$(sed -n 's/^torch==//p' "$constraints")
    $pip install --no-deps "torch==$version+cpu" >/dev/null 2>&1 ||
        $pip install --no-deps --retries 1 --timeout 30 \
            --index-url https://download.pytorch.org/whl/cpu "torch==$version" ||
        fail "could not get the CPU build of PyTorch $version: is https://download.pytorch.org reachable?"
}

# A .venv of the same Python, made in this very folder: its scripts name their interpreter by full path.
usable_venv() {
    [ -x .venv/bin/python ] && [ "$(.venv/bin/python --version)" = "$("$python" --version)" ] &&
        grep -q " $(pwd)/.venv\$" .venv/pyvenv.cfg
}

python=$(find_python)
[ -n "$python" ] || fail "Python 3.11 or newer is needed; run: sudo apt-get install -y python3 python3-venv"

# What only tests run: Tcl, for the scripts that Vivado gets, and a browser, for the report's page.
missing_test_packages() {
    command -v tclsh >/dev/null || printf 'tcl '
    for browser in chromium-headless-shell chromium chromium-browser google-chrome; do
        command -v "$browser" >/dev/null && return
    done
    # Ubuntu has it as a snap alone; without a browser the tests that need one are skipped.
    ! grep -q '^ID=debian' /etc/os-release 2>/dev/null || printf 'chromium-headless-shell '
}

missing=$(missing_packages)
[ "${1:-}" != test ] || missing="$missing$(missing_test_packages)"
# Unquoted on purpose: a list of package names.
[ -z "$missing" ] || install_packages $missing

key=$({ pwd; "$python" --version; cat pyproject.toml "$constraints" scripts/setup.sh; } | cksum)
if [ "$(cat "$stamp" 2>/dev/null)" = "$key" ]; then
    exit 0
fi

started=$(date +%s)
pip=".venv/bin/python -m pip --quiet --quiet --disable-pip-version-check --no-input"
rm -f "$stamp"
if usable_venv; then
    say "bringing .venv up to date"
else
    say "making .venv with $("$python" --version)"
    "$python" -m venv --clear .venv
fi
say "installing PyTorch (CPU build; about 200 MB to download the first time)"
install_torch
say "installing $(grep -c '==' "$constraints") pinned packages (a minute or two the first time)"
$pip install --constraint "$constraints" hatchling
$pip install --constraint "$constraints" --no-build-isolation --editable '.[train,sim,dev]'
printf '%s\n' "$key" >"$stamp"
say "ready after $(($(date +%s) - started)) s: .venv/bin/mixq --help"
