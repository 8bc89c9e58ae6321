#!/usr/bin/env bash
# Makes the virtual environment that localnet and the tests run in. Usage: PYTHON=python3.11 VENV=.venv bash localnet/install.sh
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3.11}
venv=${VENV:-.venv}
free_gib_needed=8

say() { printf '==> %s\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

command -v "$python" >/dev/null || fail "there is no $python here; install Python 3.11 or name another: make PYTHON=/path/to/python3.11"
"$python" -c 'import sys; raise SystemExit(sys.version_info[:2] < (3, 11))' || fail "$python is older than Python 3.11"
command -v gcc >/dev/null || command -v cc >/dev/null || fail "there is no C compiler here, which vLLM needs on a CPU; install gcc"
[ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || fail "localnet needs Linux on x86-64, where vLLM has a CPU build; this is $(uname -s) on $(uname -m)"
free_gib=$(( $(df -Pk . | awk 'NR==2 {print $4}') / 1048576 ))
[ "$free_gib" -ge "$free_gib_needed" ] || fail "the environment needs $free_gib_needed GiB of disk, $free_gib GiB are free here"

torch=$(sed -n 's/^\(torch==[^ ]*\).*/\1/p' requirements.txt)
[ -x "$venv/bin/python" ] || { say "creating $venv"; "$python" -m venv "$venv"; }
pip=("$venv/bin/python" -m pip --disable-pip-version-check --quiet)

say "installing $torch (CPU build)"
if ! "$venv/bin/python" -c "import importlib.metadata as m; raise SystemExit('torch==' + m.version('torch') != '$torch')" 2>/dev/null; then
    # The plain index first: mirrors and local wheel folders may hold the CPU build. PyTorch's own index always does.
    "${pip[@]}" install --no-deps "$torch" 2>/dev/null ||
        "${pip[@]}" install --no-deps --index-url https://download.pytorch.org/whl/cpu "$torch" ||
        fail "$torch could not be installed; check the connection to the package index and run make again"
fi

say "installing $(grep -c '==' requirements.txt) pinned packages"
# --no-deps: the list is complete. Resolving would add torchvision and its kin, whose CUDA builds break vLLM on a CPU.
"${pip[@]}" install --no-deps -r requirements.txt || fail "the pinned packages could not be installed; the lines above say which one"
"${pip[@]}" install --no-deps --editable . || fail "this project could not be installed into $venv; the lines above say why"
touch "$venv/.installed"
say "the environment is ready"
