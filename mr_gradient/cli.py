"""The command line: ``mr-gradient prepare``, ``inspect``, ``train`` and ``evaluate``.

Results go to stdout, as one JSON object with ``--json``; everything else goes to stderr. Errors are
one line each, with the exit status of their class in ``errors``.
"""

from __future__ import annotations

import argparse
import difflib
import functools
import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from mr_gradient import __version__, threads
from mr_gradient.errors import MrGradientError, UsageError
from mr_gradient.progress import KINDS, on_stderr
from mr_gradient.storage import finite

_EXAMPLES = """examples:
  mr-gradient prepare data/digits.csv --out digits --test-fraction 0.2
  mr-gradient train --data digits --model softmax --out model --learning-rate 1
  mr-gradient evaluate --model model --data digits --json
"""


class _Parser(argparse.ArgumentParser):
    """One line for an error, and the nearest option for a misspelt one."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see '{self.prog} --help'")

    def options(self) -> list[str]:
        return [option for action in self._actions for option in action.option_strings]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit status."""
    threads.set_environment()  # before numpy
    _open_closed_streams()
    signal.signal(signal.SIGTERM, _terminate)
    arguments = list(sys.argv[1:] if argv is None else argv)
    verbose = "-v" in arguments or "--verbose" in arguments
    try:
        return _run(arguments)
    except MrGradientError as error:
        if verbose and getattr(error, "details", ""):
            print(error.details, file=sys.stderr, end="")
        print(f"mr-gradient: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        again = ""
        if arguments[:1] == ["train"]:
            same = "without --restart " if "--restart" in arguments else "again "
            again = f"; run the same command {same}to go on"
        print(f"mr-gradient: interrupted{again}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone; say nothing more to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except Exception as error:
        if verbose:
            traceback.print_exc()
        what = str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        print(f"mr-gradient: {what} (-v shows the traceback)", file=sys.stderr)
        return 1


def _open_closed_streams() -> None:
    """Give a program that was started without some of its streams empty ones."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            handle = os.open(os.devnull, os.O_RDWR)
            if handle != number:
                os.dup2(handle, number)
                os.close(handle)
            setattr(sys, name, open(number, "r" if number == 0 else "w", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):  # a name that the terminal cannot show harms nothing
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _terminate(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _run(arguments: list[str]) -> int:
    parser = _make_parser()
    options, rest = parser.parse_known_args(arguments)
    if options.command is None:
        if rest:
            _refuse(parser, rest)
        parser.print_help()
        return 0
    if rest and options.command in ("prepare", "inspect"):
        _refuse(options.parser, rest)
    result = options.function(options, rest)
    if options.json:
        print(json.dumps(finite(result), allow_nan=False))
    else:
        _print_result(result)
    sys.stdout.flush()  # a full disk, or a reader that has gone, shows here
    return 0


def _refuse(parser: _Parser, rest: list[str], known: Sequence[str] = ()) -> NoReturn:
    word = next((each for each in rest if each.startswith("-")), rest[0]).partition("=")[0]
    near = difflib.get_close_matches(word, [*parser.options(), *known], 1)
    raise UsageError(f"{word}: no such option or argument"
                     + (f"; did you mean {near[0]}?" if near else f"; see '{parser.prog} --help'"))


def _print_result(result: dict) -> None:
    for name, value in result.items():
        if value is None:
            continue
        if isinstance(value, dict):
            value = "  ".join(f"{key} {_short(each)}" for key, each in value.items())
        print(f"{name.replace('_', ' '):12} {_short(value)}")


def _short(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _make_parser() -> _Parser:
    parser = _Parser(prog="mr-gradient", epilog=_EXAMPLES, allow_abbrev=False,
                     description="Train linear models and networks by MapReduce.",
                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=f"mr-gradient {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for add in (_add_prepare, _add_inspect, _add_train, _add_evaluate):
        add(commands)
    return parser


def _command(commands, name: str, text: str, function) -> _Parser:
    parser = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
    parser.set_defaults(function=function, parser=parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    parser.add_argument("-v", "--verbose", action="store_true",
                        help="show mrjob's log and the traceback of a failed task")
    return parser


def _add_runner(parser: _Parser) -> None:
    parser.add_argument("-r", "--runner", default="inline", metavar="RUNNER",
                        help="inline (default: all cores, one process each) or local")
    parser.epilog = "Any option of mrjob may follow: --num-cores N, -c mrjob.conf, -D key=value."


def _add_prepare(commands) -> None:
    parser = _command(commands, "prepare", "Turn CSV files into a data set.", _prepare)
    add = parser.add_argument
    add("inputs", nargs="+", metavar="INPUT", help="CSV files with the same header")
    add("--out", required=True, metavar="DIR", help="folder of the data set to make")
    add("--target", metavar="COLUMN",
        help="column to predict (default: the one called label, target, class or y)")
    add("--target-type", default="auto", choices=("auto", "class", "value"),
        help="auto: text, or at most 100 different whole numbers, are classes")
    add("--test-fraction", type=float, default=0.0, metavar="F",
        help="part of the rows that is held out (default: 0)")
    add("--shards", type=int, default=0, metavar="N",
        help="training shards (default: one for each 64 MiB, at least 8)")
    add("--seed", type=int, default=0, metavar="S", help="of the deal of rows (default: 0)")
    add("--dtype", default="auto", choices=("auto", "uint8", "float16", "float32", "float64"),
        help="auto: uint8, scaled to [0, 1], if all features are whole and in 0..255; else float32")
    add("--overwrite", action="store_true", help="replace a data set that is at DIR")


def _add_inspect(commands) -> None:
    parser = _command(commands, "inspect", "Show what is in a data set.", _inspect)
    parser.add_argument("data", metavar="DIR", help="a prepared data set")


def _add_train(commands) -> None:
    parser = _command(commands, "train", "Train a model, or go on with its training.", _train)
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
    _add_runner(parser)


def _add_evaluate(commands) -> None:
    parser = _command(commands, "evaluate", "Measure a model on a data set.", _evaluate)
    add = parser.add_argument
    add("--model", required=True, metavar="MODELDIR", help="folder of a trained model")
    add("--data", required=True, metavar="DIR", help="a prepared data set")
    add("--part", default="", choices=("train", "held-out"),
        help="default: held-out if there is one")
    _add_runner(parser)


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be numbers with commas, found {text!r}") from None


def _prepare(options: argparse.Namespace, _: list[str]) -> dict:
    from mr_gradient.dataset.prepare import PrepareConfig, prepare

    fields = PrepareConfig.__dataclass_fields__
    dataset = prepare(PrepareConfig(**{k: v for k, v in vars(options).items() if k in fields}))
    schema = dataset.schema
    return {"data": dataset.folder, "examples": dataset.rows("train"),
            "held_out": dataset.rows("held_out"), "features": len(schema.features),
            "target": schema.target, "kind": schema.kind, "classes": list(schema.classes),
            "dtype": schema.dtype, "shards": len(dataset.train) + len(dataset.held_out)}


def _inspect(options: argparse.Namespace, _: list[str]) -> dict:
    from mr_gradient.inspection import inspect, print_inspection

    found = inspect(options.data)
    if options.json:
        return found
    print_inspection(found, sys.stdout)
    return {}


def _check_runner_options(options: argparse.Namespace, rest: list[str]) -> None:
    """Refuse what neither this command nor mrjob knows, with the nearest name."""
    from mr_gradient.jobs.gradient_job import GradientJob

    parser = GradientJob([]).arg_parser
    try:
        _, unknown = parser.parse_known_args(rest)
    except ValueError as error:
        raise UsageError(f"{error}; see '{options.parser.prog} --help'") from None
    if unknown:
        _refuse(options.parser, unknown, [o for a in parser._actions for o in a.option_strings])


def _train(options: argparse.Namespace, rest: list[str]) -> dict:
    from mr_gradient.config import TrainConfig
    from mr_gradient.training import train

    _check_runner_options(options, rest)
    fields = TrainConfig.__dataclass_fields__
    known = {name: value for name, value in vars(options).items() if name in fields}
    return train(TrainConfig(**known, runner_options=rest),
                 functools.partial(on_stderr, options.progress))


def _evaluate(options: argparse.Namespace, rest: list[str]) -> dict:
    from mr_gradient.evaluation import evaluate

    _check_runner_options(options, rest)
    return evaluate(options.model, options.data, options.part, options.runner, rest,
                    options.verbose)
