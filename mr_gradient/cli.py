"""The command line: ``mr-gradient prepare``, ``inspect``, ``train`` and ``evaluate``.

Results go to stdout, as one JSON object with ``--json``; everything else goes to stderr. Errors are
one line each, with the exit status of their class in ``errors``.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from mr_gradient import __version__, threads
from mr_gradient.commands import evaluate, inspect, prepare, train
from mr_gradient.commands.parser import Parser
from mr_gradient.errors import MrGradientError
from mr_gradient.storage import finite

_EXAMPLES = """examples:
  mr-gradient prepare data/digits.csv --out digits --test-fraction 0.2
  mr-gradient train --data digits --model softmax --out model --learning-rate 1
  mr-gradient evaluate --model model --data digits --json
"""


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
            mode = "r" if number == 0 else "w"
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115  for as long as we live
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
            parser.refuse(rest)
        parser.print_help()
        return 0
    if rest and not options.takes_rest:
        options.parser.refuse(rest)
    result = options.function(options, rest)
    if options.json:
        print(json.dumps(finite(result), allow_nan=False))
    else:
        _print_result(result)
    sys.stdout.flush()  # a full disk, or a reader that has gone, shows here
    return 0


def _print_result(result: dict) -> None:
    for name, value in result.items():
        if value is not None:
            print(f"{name.replace('_', ' '):12} {value}")


def _make_parser() -> Parser:
    parser = Parser(prog="mr-gradient", epilog=_EXAMPLES, allow_abbrev=False,
                    description="Train linear models and networks by MapReduce.",
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=f"mr-gradient {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for each in (prepare, inspect, train, evaluate):
        each.add(commands)
    return parser
