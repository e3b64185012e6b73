"""``mr-gradient evaluate``."""

from __future__ import annotations

import argparse
import sys

from mr_gradient.commands.parser import (
    add_model_code,
    add_node_cache,
    add_runner,
    check_runner_options,
    command,
    job_options,
)
from mr_gradient.commands.results import print_results


def add(commands) -> None:
    parser = command(commands, "evaluate", "Measure a model on a data set.", run,
                     "  mr-gradient evaluate --model model --data digits --json\n")
    add = parser.add_argument
    add("--model", required=True, metavar="MODELDIR", help="folder of a trained model, or a URI")
    add("--data", required=True, metavar="DIR", help="a prepared data set: a folder or a URI")
    add("--part", default="", choices=("train", "held-out"),
        help="default: held-out if there is one")
    add_model_code(parser)
    add_node_cache(parser)
    add_runner(parser)


def run(options: argparse.Namespace, rest: list[str]) -> dict:
    from mr_gradient import model_folder
    from mr_gradient.evaluation import evaluate

    check_runner_options(options, rest)
    result = evaluate(options.model, options.data, options.part, options.runner,
                      job_options(options, rest),
                      options.verbose, options.model_code)
    if options.json:
        return result
    print_results(result, model_folder.read(options.model).schema.classes, sys.stdout)
    return {}
