"""``mr-gradient train``."""

from __future__ import annotations

import argparse
import functools
import sys

from mr_gradient.commands.parser import (
    add_node_cache,
    add_runner,
    check_runner_options,
    command,
    fields_of,
    job_options,
)
from mr_gradient.commands.results import print_results
from mr_gradient.progress import KINDS, on_stderr

_EXAMPLES = """\
  mr-gradient train --data digits --model softmax --out model
  mr-gradient train --data digits --model mlp --out network --patience 5
  mr-gradient train --data mnist --model lenet --strategy local-sgd --out lenet
  mr-gradient train --config train.yaml --l2 1e-3

train.yaml has these options as keys; those of the command line win:
  data: digits
  model: network
  layers: [{dense: 64}, relu, {dense: 10}]
  optimizer: adam
  out: model
"""


def add(commands) -> None:
    parser = command(commands, "train", "Train a model, or go on with its training.", run, _EXAMPLES)
    add = _without_defaults(parser)
    add("--config", metavar="FILE", help="YAML with any of these options; those given here win")
    add("--data", metavar="DIR", help="a prepared data set: a folder or a URI")
    add("--model", metavar="NAME", help="linear, huber, poisson, logistic, svm, softmax, mlp, lenet, "
        "alexnet-small, network with --layers, or your own as path/to/file.py:factory")
    add("--out", metavar="MODELDIR", help="folder of the model, or a URI")
    add("--iterations", type=int, metavar="N",
        help="jobs in all, those of earlier runs included (default: 100)")
    add("--seed", type=int, metavar="S", help="of all that is random (default: 0)")
    add("--precision", choices=("float32", "float64"), help="of parameters and gradients")
    add("--rows-per-split", type=int, metavar="N",
        help="cut shards into splits of N rows (default: a split a shard)")
    add("--patience", type=int, metavar="N",
        help="stop after N iterations without a lower held-out loss, and keep the best model")
    add("--warm-start", metavar="MODELDIR", help="begin with the parameters of another model")
    add("--restart", action="store_true", help="remove the training that is in MODELDIR")
    parser.add_argument("--progress", default="auto", choices=KINDS,
                        help="auto: a bar on a terminal, a line an iteration elsewhere")
    _add_model(_without_defaults(parser.add_argument_group("model and objective")))
    _add_optimizer(_without_defaults(parser.add_argument_group("optimizer and strategy")))
    add_node_cache(parser)
    add_runner(parser)
    parser.add_argument("--driver-on-cluster", action="store_true",
                        help="of -r emr: run all of this on the cluster's master node, and look on")


def _without_defaults(parser):
    """``add_argument`` of options that are left out of what was parsed unless they were given."""
    return functools.partial(parser.add_argument, default=argparse.SUPPRESS)


def _add_model(add) -> None:
    add("--l1", type=float, metavar="X", help="penalty X |weights| (default: 0)")
    add("--l2", type=float, metavar="X", help="penalty X/2 |weights|^2 (default: 0)")
    add("--class-weight", choices=("balanced",), help="make all classes weigh alike in "
        "training; what is measured at the end counts every example once")
    add("--huber-delta", type=float, metavar="X", help="of huber: where the loss turns linear")
    add("--hidden", type=_sizes, metavar="N,N", help="hidden layers of mlp (default: 64)")
    add("--layers", metavar="FILE", help="of network: a list of layers in YAML or JSON")
    add("--input-shape", type=_sizes, metavar="C,H,W", help="of the images of a network")
    add("--model-options", type=_mapping, metavar="JSON",
        help="arguments of the factory of a model of your own, such as '{\"factors\": 8}'")
    add("--skip-model-check", action="store_true",
        help="do not try a model of your own on a few examples before it is trained")


def _add_optimizer(add) -> None:
    add("--strategy", choices=("synchronous", "local-sgd"),
        help="synchronous (default): a gradient an iteration; local-sgd: each split trains by itself, "
             "then all are averaged")
    add("--optimizer", metavar="NAME",
        help="lbfgs (default of linear models), owlqn (with --l1), newton, gd (default with "
             "--learning-rate), momentum, nesterov, adagrad, rmsprop, adam (of networks) or adamw")
    add("--learning-rate", type=float, metavar="X", help="step size (default: the optimizer's)")
    add("--batch-size", type=int, metavar="N",
        help="synchronous: rows drawn at each iteration (default: all); local-sgd: rows of each of its "
             "updates (default: 128)")
    add("--local-epochs", type=int, metavar="N", help="of local-sgd, an iteration (default: 1)")
    add("--local-steps", type=int, metavar="N", help="updates an iteration instead of epochs")
    add("--momentum", type=float, metavar="X", help="of momentum and nesterov (default: 0.9)")
    add("--beta1", type=float, metavar="X", help="of adam (default: 0.9)")
    add("--beta2", type=float, metavar="X", help="of adam (default: 0.999)")
    add("--decay", type=float, metavar="X", help="of rmsprop (default: 0.99)")
    add("--epsilon", type=float, metavar="X", help="of adagrad, rmsprop and adam")
    add("--weight-decay", type=float, metavar="X", help="of adamw (default: 0.01)")
    add("--schedule", choices=("constant", "step", "cosine", "inverse-sqrt"),
        help="of the learning rate (default: constant)")
    add("--warmup", type=int, metavar="N", help="updates until the full learning rate (default: 0)")
    add("--schedule-iterations", type=int, metavar="N", help="updates of a step, or of all cosine")
    add("--schedule-drop", type=float, metavar="X", help="factor of each step (default: 0.1)")
    add("--clip-norm", type=float, metavar="X", help="longest gradient (default: any)")
    add("--memory", type=int, metavar="N", help="pairs that lbfgs and owlqn remember")
    add("--tolerance", type=float, metavar="X", help="largest gradient at which a search is done")
    add("--precondition", choices=("auto", "none", "center", "scale", "both"),
        help="variables in which features are centred, of like size (scale), or both; auto: for lbfgs "
             "and owlqn both, for softmax of dense features center")


def run(options: argparse.Namespace, rest: list[str]) -> dict:
    from mr_gradient import model_folder
    from mr_gradient.config import TrainConfig, from_yaml
    from mr_gradient.training import train

    check_runner_options(options, rest)
    config = from_yaml(getattr(options, "config", ""), {
        **fields_of(TrainConfig, options), "runner_options": job_options(options, rest)})
    if options.driver_on_cluster:
        from mr_gradient.commands.on_cluster import train_on_cluster

        result, classes = train_on_cluster(config, options.progress == "none")
    else:
        result = train(config, functools.partial(on_stderr, options.progress))
        classes = model_folder.read(config.out).schema.classes
    if options.json:
        return result
    print_results(result, classes, sys.stdout)
    return {}


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be numbers with commas, found {text!r}") from None


def _mapping(text: str) -> dict:
    from mr_gradient.yaml_files import parse_yaml

    value = parse_yaml(text)
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"must be like '{{factors: 8}}', found {text!r:.60}")
    return value
