"""What the commands share: a parser with short errors, and the options of mrjob that may follow."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable, Sequence
from typing import NoReturn

from mr_gradient.errors import UsageError


class Parser(argparse.ArgumentParser):
    """One line for an error, and the nearest option for a misspelt one."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see '{self.prog} --help'")

    def refuse(self, rest: list[str], known: Sequence[str] = ()) -> NoReturn:
        """Raise ``UsageError`` for words that are no options; ``known``: options of others."""
        own = [option for action in self._actions for option in action.option_strings]
        word = next((each for each in rest if each.startswith("-")), rest[0]).partition("=")[0]
        near = difflib.get_close_matches(word, [*own, *known], 1)
        raise UsageError(f"{word}: no such option or argument"
                         + (f"; did you mean {near[0]}?" if near else f"; see '{self.prog} --help'"))


def command(commands, name: str, text: str, run: Callable[..., dict], examples: str = "") -> Parser:
    """Add a command; ``run(options, rest)`` returns what ``--json`` prints."""
    parser = commands.add_parser(name, help=text, description=text, allow_abbrev=False,
                                 epilog=examples and f"examples:\n{examples}",
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.set_defaults(function=run, parser=parser, takes_rest=False)
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    parser.add_argument("-v", "--verbose", action="store_true",
                        help="show mrjob's log and the traceback of a failed task")
    return parser


def add_model_code(parser: Parser) -> None:
    """For commands that load a trained model."""
    parser.add_argument("--model-code", default="", metavar="FILE.py:FACTORY",
                        help="the code of a model of your own: it is run only when you name it")


def add_runner(parser: Parser) -> None:
    """The runner; options that are none of the command's are mrjob's."""
    parser.set_defaults(takes_rest=True)
    parser.add_argument("-r", "--runner", default="inline", metavar="RUNNER",
                        help="inline (default: all cores, one process each), local, hadoop, "
                             "spark or emr; --yes lets emr start a cluster without a question")
    parser.add_argument("--ship-env", action="store_true",
                        help="of -r hadoop: send the packages of this Python to the nodes, which then "
                             "need the same Python only")
    note = "Any option of mrjob may follow: --num-cores N, -c mrjob.conf, -D key=value."
    parser.epilog = f"{parser.epilog}\n{note}" if parser.epilog else note


def add_node_cache(parser: Parser) -> None:
    """For commands whose tasks read shards."""
    parser.add_argument("--no-node-cache", action="store_true",
                        help="of data at a URI: keep no shard on the nodes, fetch it for each task")


def job_options(options: argparse.Namespace, rest: list[str]) -> list[str]:
    """What the job is told: mrjob's options, and some of ours."""
    return [*rest, *(option for option in ("--no-node-cache", "--ship-env")
                     if getattr(options, option[2:].replace("-", "_"), False))]


def check_runner_options(options: argparse.Namespace, rest: list[str]) -> None:
    """Refuse what neither this command nor mrjob knows, with the nearest name."""
    from mr_gradient.jobs.gradient_job import GradientJob

    parser = GradientJob([]).arg_parser
    try:
        _, unknown = parser.parse_known_args(rest)
    except ValueError as error:
        raise UsageError(f"{error}; see '{options.parser.prog} --help'") from None
    if unknown:
        options.parser.refuse(unknown, [o for a in parser._actions for o in a.option_strings])


def fields_of(kind: type, options: argparse.Namespace) -> dict:
    """The options that are fields of a dataclass."""
    return {name: value for name, value in vars(options).items() if name in kind.__dataclass_fields__}
