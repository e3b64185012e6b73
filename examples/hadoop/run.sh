#!/usr/bin/env bash
# Start a small Hadoop cluster on this machine, put the digits into HDFS, and train and evaluate there.
#
#   examples/hadoop/run.sh [COMMAND [ARGUMENT ...]]
#
# The cluster has two nodes, each with a data node of HDFS and a node manager of YARN as processes of
# their own. It needs Linux, Java 17 and, the first time, Maven, which fetches 100 MB of jars into
# ~/.cache/mr_gradient. The digits are in the folder `digits` of the user's home in HDFS. COMMAND has
# `hadoop` and `mr-gradient` on its path, and $PYTHON_BIN is what to name with --python-bin; `bash`
# gives a shell. At its end the cluster stops and nothing of it is left.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)

# shellcheck source=tests/environment.sh
source "$here/tests/environment.sh"
make_environment "$here/.venv" "$here" "[tables]"
export PATH="$here/.venv/bin:$PATH"

work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
mr-gradient prepare "$here/data/digits.csv" --out "$work/digits" --test-fraction 0.2 --shards 4 >&2
# Hadoop cannot run a program whose path has a space, and a checkout may have one.
printf '#!/bin/sh\nexec "%s" "$@"\n' "$here/.venv/bin/python" > "$work/python"
chmod +x "$work/python"

# shellcheck disable=SC2016  # the inner shell expands
[[ $# -gt 0 ]] || set -- bash -ec '
    mr-gradient train --data hdfs:///user/hadoop/digits --model softmax --iterations 5 \
        --out "$1/model" -r hadoop --python-bin "$PYTHON_BIN"
    mr-gradient evaluate --data hdfs:///user/hadoop/digits --model "$1/model" \
        -r hadoop --python-bin "$PYTHON_BIN"' run.sh "$work"

# shellcheck disable=SC2016
PYTHONPATH=$here/tests PYTHON_BIN=$work/python python -m cluster bash -c '
    set -e
    hadoop fs -put "$1" digits
    shift
    unset PYTHONPATH
    "$@"' run.sh "$work/digits" "$@"
