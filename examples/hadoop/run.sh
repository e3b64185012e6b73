#!/usr/bin/env bash
# Start a small Hadoop cluster on this machine, put the digits into HDFS, and run a command there.
#
#   examples/hadoop/run.sh [COMMAND [ARGUMENT ...]]
#
# The cluster has two nodes, each with a data node of HDFS and a node manager of YARN as processes of
# their own. It needs Linux, Java 17 and, the first time, Maven, which fetches 100 MB of jars into
# ~/.cache/mr_gradient. The digits are in the folder `digits` of the user's home in HDFS. COMMAND
# (default: list them) has `hadoop` and `mr-gradient` on its path; `bash` gives a shell. At its end the
# cluster stops and nothing of it is left.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
[[ $# -gt 0 ]] || set -- hadoop fs -ls -R digits

# shellcheck source=tests/environment.sh
source "$here/tests/environment.sh"
make_environment "$here/.venv" "$here" "[tables]"
export PATH="$here/.venv/bin:$PATH"

prepared=$(mktemp -d)
trap 'rm -rf -- "$prepared"' EXIT
mr-gradient prepare "$here/data/digits.csv" --out "$prepared/digits" --test-fraction 0.2 >&2

# shellcheck disable=SC2016  # the inner shell expands
PYTHONPATH=$here/tests python -m cluster bash -c '
    set -e
    hadoop fs -put "$1" digits
    shift
    unset PYTHONPATH
    "$@"' run.sh "$prepared/digits" "$@"
