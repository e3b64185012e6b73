# Sourced by run_local.sh and tests/run.sh: finds a Python and makes a virtual environment.

# Prints the first interpreter that runs and is 3.10 or later.
find_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.{14,13,12,11,10} python; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2> /dev/null; then
            command -v -- "$candidate"
            return
        fi
    done
    printf 'Python 3.10 or later is needed, and none was found; install one, or name it with ' >&2
    printf 'PYTHON=/path/to/python3\n' >&2
    return 2
}

# make_environment VENV PROJECT EXTRAS: makes VENV with PROJECT and its EXTRAS ("" or "[test]") in
# it, unless it is there and setup.cfg has not changed since.
make_environment() {
    local venv=$1 project=$2 extras=$3 python stamp
    stamp="$venv/installed-from-setup.cfg"
    if [[ -x $venv/bin/python ]] && cmp -s "$project/setup.cfg" "$stamp" &&
        "$venv/bin/python" -c 'import mr_gradient' 2> /dev/null; then
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
