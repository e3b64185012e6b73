#!/usr/bin/env bash
# Run the checks and all tests: ruff, import-linter, pytest, and the fast tests on other Pythons.
#
#   tests/run.sh [PYTEST ARGUMENT ...]
#
# Makes .venv-test with the test extras. With arguments, only pytest runs, with those.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
source "$here/tests/environment.sh"
make_environment "$here/.venv-test" "$here" "[test]"
cd "$here"
bin=$here/.venv-test/bin

if [[ $# -gt 0 ]]; then
    exec "$bin/python" -m pytest "$@"
fi
"$bin/ruff" check .
"$bin/lint-imports"
"$bin/python" -m pytest -m "not long"
"$bin/nox" --noxfile tests/noxfile.py --envdir .nox
