"""``mr-gradient inspect``."""

from __future__ import annotations

import argparse
import sys

from mr_gradient.commands.parser import command


def add(commands) -> None:
    parser = command(commands, "inspect", "Show what is in a data set.", run,
                     "  mr-gradient inspect digits\n")
    parser.add_argument("data", metavar="DIR", help="a prepared data set: a folder or a URI")


def run(options: argparse.Namespace, _: list[str]) -> dict:
    from mr_gradient.inspection import inspect, print_inspection

    found = inspect(options.data)
    if options.json:
        return found
    print_inspection(found, sys.stdout)
    return {}
