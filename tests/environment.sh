# Sourced by run_local.sh and tests/run.sh: finds a Python and makes a virtual environment.

# Prints the first interpreter that runs and is 3.10 or later.
find_python() {
    local candidate
    is_new_enough() { "$1" -I -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2> /dev/null; }
    if [[ -n ${PYTHON:-} ]]; then
        is_new_enough "$PYTHON" && command -v -- "$PYTHON" && return
        printf 'PYTHON=%s: must be an interpreter of Python 3.10 or later\n' "$PYTHON" >&2
        return 2
    fi
    for candidate in python3 python3.{14,13,12,11,10} python; do
        is_new_enough "$candidate" && command -v -- "$candidate" && return
    done
    printf 'Python 3.10 or later is needed, and none was found; install one, or name it with ' >&2
    printf 'PYTHON=/path/to/python3\n' >&2
    return 2
}

# make_environment VENV PROJECT EXTRAS: makes VENV with PROJECT and its EXTRAS ("" or "[test]") in
# it, unless it is there, made from this very folder, and setup.cfg has not changed since.
make_environment() {
    local venv=$1 project=$2 extras=$3 python stamp
    stamp="$venv/installed-from-setup.cfg"
    if [[ -x $venv/bin/python ]] && cmp -s "$project/setup.cfg" "$stamp" &&
        "$venv/bin/python" -I -c 'import os, sys, mr_gradient
here = os.path.dirname(os.path.dirname(os.path.abspath(mr_gradient.__file__)))
sys.exit(not os.path.samefile(here, sys.argv[1]))' "$project" 2> /dev/null; then
        return
    fi
    python=$(find_python) || return
    printf 'Making %s with %s\n' "$venv" "$("$python" --version)" >&2
    rm -rf -- "$venv"
    "$python" -m venv "$venv" || {
        printf 'The module venv does not work; on Debian: apt-get install python3-venv\n' >&2
        return 2
    }
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable "$project$extras" || {
        printf 'The installation of %s failed; see the lines above\n' "$project" >&2
        return 2
    }
    cp "$project/setup.cfg" "$stamp"
}
