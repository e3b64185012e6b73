#!/usr/bin/env bash
# Train on the digits, on this machine: softmax regression, then a network of 64-64-10.
#
#   ./run_local.sh [EPOCHS] [FOLDER]
#
# Makes .venv, installs the package into it, prepares data/digits.csv, trains both models for EPOCHS
# iterations (default 300) with the inline runner and prints their accuracy on the held-out digits.
# A larger EPOCHS on the same FOLDER (default: local, beside this script) goes on where it stopped.
# PYTHON names the interpreter to use (3.10 or later); SEED the seed of deal and model (default 0).
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
epochs=${1:-300}
folder=${2:-$here/local}
seed=${SEED:-0}

fail() { printf 'run_local.sh: %s\n' "$1" >&2; exit 2; }

[[ $epochs =~ ^[1-9][0-9]*$ ]] || fail "EPOCHS must be a whole number from 1, found '$epochs'"
[[ $# -le 2 ]] || fail "takes at most two arguments, EPOCHS and FOLDER; found '$3' too"
mkdir -p -- "$folder" || fail "the folder '$folder' cannot be made"

# shellcheck source=tests/environment.sh
source "$here/tests/environment.sh"
make_environment "$here/.venv" "$here" "[tables]"
run() { "$here/.venv/bin/mr-gradient" "$@"; }

if [[ ! -f $folder/digits-$seed/dataset.json ]]; then
    run prepare "$here/data/digits.csv" --out "$folder/digits-$seed" --test-fraction 0.2 \
        --seed "$seed" >&2
fi

# One line of result for a model: train it, then measure it on the held-out digits.
one() {
    local name=$1
    shift
    printf '\n== %s, %s iterations\n' "$name" "$epochs" >&2
    run train --data "$folder/digits-$seed" --model "$name" --out "$folder/$name-$seed" \
        --iterations "$epochs" --seed "$seed" --progress lines "$@" > /dev/null
    run evaluate --model "$folder/$name-$seed" --data "$folder/digits-$seed" --json |
        "$here/.venv/bin/python" -I -c '
import json, sys
result = json.load(sys.stdin)
print(f"{sys.argv[1]}: held-out accuracy {result['"'accuracy'"']:.4f} on {result['"'examples'"']} digits, "
      f"model in {sys.argv[2]}")' "$name" "$folder/$name-$seed"
}

one softmax --learning-rate 2
one mlp --hidden 64 --optimizer momentum --learning-rate 1 --l2 1e-3
