#!/usr/bin/env bash
# Makes .venv and installs Luthier into it:  .ci/setup.sh EXTRAS   (worker | worker,dev)
#
# VENV     another folder than .venv
# PYTHON   the interpreter (3.11 or newer); else the newest python3 on the PATH
# TORCH    what pip is to install as torch, and beside it what must suit it; else a CPU build where there is no NVIDIA
#          driver, the default build where there is one. Another package index is pip's own setting: PIP_EXTRA_INDEX_URL.
# VERSIONS locked (the default: requirements.lock), newest or lowest: those that pyproject.toml allows
set -euo pipefail
cd "$(dirname "$0")/.."

extras=${1:-worker}
venv=${VENV:-.venv}
tested_torch=2.13.0
say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

usable() { command -v "$1" >/dev/null 2>&1 && "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
complete() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }  # Debian packs both apart from python3

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if usable "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

if ! [ -x "$venv"/bin/python ] || ! "$venv"/bin/python -m pip --version >/dev/null 2>&1; then
    python=$(find_python) || python=
    if { [ -z "$python" ] || ! complete "$python"; } && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing python3 and python3-venv with apt-get"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3 python3-venv >/dev/null
        python=$(find_python) || python=
    fi
    [ -n "$python" ] || die "Python 3.11 or newer is needed (found: $(${PYTHON:-python3} --version 2>&1 || true)). Install it, or name one: make PYTHON=/path/to/python3.12"
    complete "$python" || die "$python has no venv module. On Debian or Ubuntu: sudo apt-get install python3-venv"
    say "making $venv with $("$python" --version)"
    "$python" -m venv --clear "$venv"
fi

pip() { "$venv"/bin/python -m pip --disable-pip-version-check "$@"; }
installed_torch() { "$venv"/bin/python -c 'from importlib.metadata import version; print("torch==" + version("torch"))' 2>/dev/null; }

if [ -n "${TORCH:-}" ]; then
    read -ra wanted <<<"$TORCH"
    say "installing ${wanted[*]}"
    pip install -q "${wanted[@]}"
elif ! installed_torch >/dev/null; then
    if nvidia-smi -L >/dev/null 2>&1; then
        say "an NVIDIA driver is here: installing torch $tested_torch with CUDA"
        pip install -q "torch==$tested_torch"
    else
        say "no NVIDIA driver is here: installing the CPU build of torch $tested_torch"
        if ! pip install -q "torch==$tested_torch+cpu" 2>/dev/null; then
            say "pip's index has no build marked as CPU; taking its default, which on Linux can bring gigabytes of CUDA."
            say "To avoid that: stop, set PIP_EXTRA_INDEX_URL to PyTorch's index of CPU builds, and run this again."
            pip install -q "torch==$tested_torch"
        fi
    fi
fi

# The lock's versions without its hashes, which pip would then ask of our own folder, too. Whatever else is installed,
# now or later by the Makefile, leaves this torch alone.
versions=${VERSIONS:-locked}
{ [ "$versions" != locked ] || sed -n 's/^\([a-z0-9].*\) \\$/\1/p' requirements.lock; installed_torch; } >"$venv"/constraints.txt
say "installing Luthier and what it needs ($extras, $versions versions)"
case $versions in
locked | newest) pip install -q -e ".[$extras]" -c "$venv"/constraints.txt ;;
lowest)
    pip install -q uv
    "$venv"/bin/uv pip install -q --python "$venv"/bin/python --resolution lowest-direct -c "$venv"/constraints.txt -e ".[$extras]"
    ;;
*) die "VERSIONS is locked, newest or lowest, not $versions" ;;
esac

# The pages are tested in a browser; where it cannot be installed, those tests say what they miss.
if [[ $extras == *dev* && $(id -u) = 0 ]] && ! command -v chromium >/dev/null && command -v apt-get >/dev/null; then
    say "installing chromium with apt-get, for the tests of pages"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null
fi
say "done: $(installed_torch), $("$venv"/bin/python --version)"
