# shellcheck shell=bash
# What the scripts share: a Python that is new enough, a .venv with what the checkout asks for, words for a person.
# Sourced, never run. The working directory becomes the checkout.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
bin=$root/.venv/bin
unset PYTHONDONTWRITEBYTECODE    # else every process that starts would compile what it imports anew
export JUPYTER_PREFER_ENV_PATH=1 # a kernel of the person's own must not run our notebooks

say() { printf '%s\n' "$*"; }

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

find_python() {
    local candidate
    for candidate in "${PYTHON:-python3}" python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    fail "Python 3.11 or newer is needed; found: $(python3 --version 2>/dev/null || echo none). Install one, or name it: PYTHON=/path/to/python $0"
}

# install EXTRAS: bring .venv to what pyproject.toml and the panel's sources ask for; done in no time when it is there already.
install() {
    local stamp=.venv/installed-$1 wanted
    wanted=$(fingerprint)
    if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then return; fi
    make_venv
    prepare_panel
    say "Installing into .venv (about a minute the first time) …"
    if ! fetch ".venv/bin/uv pip install --python .venv/bin/python -e .[$1]"; then
        say "uv could not do it; trying pip, which knows your own index settings …"
        fetch ".venv/bin/python -m pip install -e .[$1]" || fail_install
    fi
    printf '%s' "$wanted" >"$stamp"
}

fingerprint() {
    find pyproject.toml labextension -type f -not -path '*/node_modules/*' -not -path '*/lib/*' -not -path '*/.yarn/*' -not -path '*/__pycache__/*' \
        -not -name '*.tsbuildinfo' -print0 | LC_ALL=C sort -z | xargs -0 cat | cksum
    if has_node; then say with-node; else say without-node; fi
}

make_venv() {
    local python
    python=$(find_python)
    if [ ! -x "$bin/python" ]; then
        "$python" -m venv .venv || fail "$python cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv"
    fi
    # uv resolves and installs in seconds what takes pip a minute.
    [ -x "$bin/uv" ] || fetch ".venv/bin/python -m pip install --quiet uv" || fail_install
}

# The editable build looks at the panel's TypeScript only; a change of style or schema must rebuild it too.
prepare_panel() {
    rm -rf jupyter_modelreg/labextension
    if ! has_node; then
        export SKIP_JUPYTER_BUILDER=1
        say "Node.js 20.19 or newer was not found: installing without the JupyterLab panel. Everything else works."
    fi
}

has_node() {
    node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 22 || (a === 22 && b >= 12) || (a === 20 && b >= 19) ? 0 : 1)' 2>/dev/null
}

fetch() {
    # shellcheck disable=SC2086 # the words of one of the commands above
    $1 >.venv/install.log 2>&1
}

fail_install() {
    tail -n 25 .venv/install.log >&2
    fail "Installing failed; the whole output is in .venv/install.log. Without a network, packages must be in pip's or uv's cache."
}
