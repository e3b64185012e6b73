"""``mr-gradient train``."""

from __future__ import annotations

import argparse
import functools

from mr_gradient.commands.parser import add_runner, check_runner_options, command, fields_of
from mr_gradient.progress import KINDS, on_stderr

_EXAMPLES = """\
  mr-gradient train --data digits --model softmax --learning-rate 1 --out model
  mr-gradient train --data digits --model mlp --hidden 64,32 --out network
"""


def add(commands) -> None:
    parser = command(commands, "train", "Train a model, or go on with its training.", run, _EXAMPLES)
    add = parser.add_argument
    add("--data", required=True, metavar="DIR", help="a prepared data set")
    add("--model", required=True, metavar="NAME", help="linear, logistic, softmax or mlp")
    add("--out", required=True, metavar="MODELDIR", help="folder of the model")
    add("--optimizer", default="gd", metavar="NAME", help="gd (default) or momentum")
    add("--learning-rate", type=float, default=0.1, metavar="X", help="step size (default: 0.1)")
    add("--momentum", type=float, default=0.9, metavar="X", help="of momentum (default: 0.9)")
    add("--iterations", type=int, default=100, metavar="N",
        help="passes over the data in all, those of earlier runs included (default: 100)")
    add("--l2", type=float, default=0.0, metavar="X", help="penalty X/2 |weights|^2 (default: 0)")
    add("--seed", type=int, default=0, metavar="S", help="of the first parameters (default: 0)")
    add("--hidden", type=_sizes, default=(64,), metavar="N,N", help="hidden layers of mlp")
    add("--precision", default="float32", choices=("float32", "float64"),
        help="type of parameters and gradients")
    add("--rows-per-split", type=int, default=0, metavar="N",
        help="cut shards into splits of N rows (default: a split a shard)")
    add("--progress", default="auto", choices=KINDS,
        help="auto: a bar on a terminal, a line an iteration elsewhere")
    add("--restart", action="store_true", help="remove the training that is in MODELDIR")
    add_runner(parser)


def run(options: argparse.Namespace, rest: list[str]) -> dict:
    from mr_gradient.config import TrainConfig
    from mr_gradient.training import train

    check_runner_options(options, rest)
    return train(TrainConfig(**fields_of(TrainConfig, options), runner_options=rest),
                 functools.partial(on_stderr, options.progress))


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be numbers with commas, found {text!r}") from None
