"""What all jobs of this project share: an argument parser built once, safe streams, our runners.

mrjob constructs a job about five times for each run and builds its parser of 150 options, and in
places a second one, every time. That was half of the fixed cost of an iteration.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from functools import cached_property
from importlib import import_module
from typing import ClassVar, NoReturn

from mrjob.job import MRJob
from mrjob.runner import MRJobRunner
from mrjob.setup import parse_legacy_hash_path

from mr_gradient.errors import MrGradientError, UsageError
from mr_gradient.jobs.heartbeat import Heartbeat
from mr_gradient.jobs.mrjob_compat import import_without_pyspark
from mr_gradient.jobs.task_errors import ERROR, reported

#: What mrjob itself passes to a task.
_TASK_DESTS = {"args", "run_mapper", "run_combiner", "run_reducer", "run_spark", "step_num"}

#: The runners, by name, since a driver needs one of them and a task none.
_RUNNERS = {"inline": "inline_runner:InlineRunner", "local": "local_runner:LocalRunner",
            "hadoop": "engines.hadoop_runner:HadoopRunner", "emr": "engines.emr_runner:EmrRunner",
            "spark": "engines.spark_runner:SparkRunner"}


class _Parsers:
    """The parser of a class of jobs, and a small one for its tasks.

    ``passthru`` and ``file``: the options that go on to the tasks, as mrjob names them.
    """

    def __init__(self, everything: ArgumentParser, passthru: set[str], file: set[str]) -> None:
        self.all, self.passthru, self.file = everything, passthru, file
        self._defaults = vars(everything.parse_args([]))
        names = _TASK_DESTS | passthru | file
        self._task = ArgumentParser(add_help=False, allow_abbrev=False)
        self._task.error = _refuse
        for action in everything._actions:
            if action.dest in names:
                self._task._add_action(action)

    def parse_task(self, args: list[str]) -> Namespace:
        return self._task.parse_args(args, Namespace(**self._defaults))


def _refuse(message: str) -> NoReturn:
    raise ValueError(message)


class BaseJob(MRJob):
    """An ordinary MRJob; subclasses declare their options in ``add_options``."""

    #: What its tasks may import beside the standard library, this package and mrjob, and beside what
    #: reads data at a store.
    PACKAGES: ClassVar[tuple[str, ...]] = ("numpy", "scipy")
    #: Map tasks for each process of the inline runner. More than 1 where lines of the manifest take
    #: long, and not all as long; then the reducers have work for several processes, too.
    TASKS_PER_CORE: ClassVar[int] = 1
    #: What a task works on right now, such as ``split 3``: errors and status name it.
    place = ""

    _parsers: ClassVar[dict[type, _Parsers]] = {}

    def add_options(self) -> None:
        """Declare options with ``add_passthru_arg`` and ``add_file_arg``."""

    def __init__(self, args: list[str] | None = None) -> None:
        """As mrjob's, but for the parsers, which are built for the first job of a class only."""
        if args is None or type(self) not in self._parsers:
            super().__init__(args)
        else:
            kept = self._parsers[type(self)]
            self.arg_parser, self._passthru_arg_dests, self._file_arg_dests = (
                kept.all, kept.passthru, kept.file)
            self.arg_parser.error = _refuse
            self._cl_args = args
            self._stdin = self._stdout = self._stderr = None
            self.load_args(args)

    def configure_args(self) -> None:
        super().configure_args()
        self.add_passthru_arg("--no-node-cache", action="store_true", default=False,
                              help="keep no shard that comes from a URI on the node")
        self.add_passthru_arg("--errors-as-records", action="store_true", default=False,
                              help="the last attempt of a task reports its error in a record")
        # For the driver alone, so no option that mrjob would pass on.
        self.arg_parser.add_argument("--yes", action="store_true", default=False,
                                     help="-r emr: start a cluster without a question")
        self.arg_parser.add_argument("--ship-env", action="store_true", default=False,
                                     help="send the packages of this Python to the nodes")
        self.add_options()
        self._parsers[type(self)] = _Parsers(
            self.arg_parser, self._passthru_arg_dests, self._file_arg_dests)

    def load_args(self, args: list[str]) -> None:
        """Parse with few options what mrjob passes to a task, and all else with all of them."""
        if {"--mapper", "--reducer", "--combiner"}.isdisjoint(args):
            super().load_args(args)
        else:
            self.options = self._parsers[type(self)].parse_task(args)

    def execute(self) -> None:
        """Run a task or the whole job. In a task, prints and warnings go to stderr."""
        if self.is_task():
            # A stray print on stdout would corrupt the records.
            self._stdout = self.stdout
            sys.stdout = sys.stderr
        super().execute()

    def map_pairs(self, pairs: Iterator[tuple], step_num: int = 0) -> Iterator[tuple]:
        """As mrjob's; an error can become a record."""
        pairs = super().map_pairs(pairs, step_num)
        return (reported(pairs, "map", lambda: self.place) if self.options.errors_as_records
                else pairs)

    def reduce_pairs(self, pairs: Iterator[tuple], step_num: int = 0) -> Iterator[tuple]:
        """As mrjob's; errors that came from mappers go through."""
        if not self.options.errors_as_records:
            yield from super().reduce_pairs(pairs, step_num)
            return
        errors: list[tuple] = []

        def others() -> Iterator[tuple]:
            for key, value in pairs:
                if key == ERROR:
                    errors.append((key, value))
                else:
                    yield key, value

        yield from reported(super().reduce_pairs(others(), step_num), "reduce", lambda: self.place)
        yield from errors

    @cached_property
    def heartbeat(self) -> Heartbeat:
        """Of this task, which tells its status by it while it works for long."""
        return Heartbeat(self.set_status)

    def hadoop_input_format(self) -> str | None:
        """One line a task on Hadoop; elsewhere the format would be taken for part of the data."""
        if self.options.runner in ("hadoop", "emr"):
            return "org.apache.hadoop.mapred.lib.NLineInputFormat"
        return None

    def run_job(self) -> None:
        """Run all steps from the command line; an error of ours is one line and its status."""
        try:
            super().run_job()
        except MrGradientError as error:
            if self.options.verbose:
                print(getattr(error, "details", ""), file=sys.stderr)
            print(f"mr-gradient: {error}", file=sys.stderr)
            sys.exit(error.exit_status)

    def make_runner(self) -> MRJobRunner:
        """As mrjob's, without its look at ``sys.argv``, which may be a user's own."""
        return self._runner_class()(**self._runner_kwargs())

    def _non_option_kwargs(self) -> dict:
        """As mrjob's, which builds a second parser to find the options that tasks must get."""
        options, extra = self.options, []
        for action in self.arg_parser._actions:
            value = getattr(options, action.dest, None)
            if value == action.default:
                continue
            if action.dest in self._file_arg_dests:
                extra += [action.option_strings[0], parse_legacy_hash_path("file", value)]
            elif action.dest in self._passthru_arg_dests:
                extra.append(action.option_strings[0])
                extra += [] if action.nargs == 0 else [str(value)]
        return {"conf_paths": options.conf_paths, "extra_args": extra,
                "hadoop_input_format": self.hadoop_input_format(),
                "hadoop_output_format": self.hadoop_output_format(),
                "input_paths": options.args, "max_output_files": options.max_output_files,
                "mr_job_script": self.mr_job_script(), "output_dir": options.output_dir,
                "partitioner": self.partitioner(), "stdin": self.stdin,
                "step_output_dir": options.step_output_dir}

    def _runner_class(self) -> type[MRJobRunner]:
        alias = self.options.runner or "inline"
        if alias in ("local", "hadoop", "emr"):
            import_without_pyspark("mrjob.bin")
        if alias not in _RUNNERS:
            return super()._runner_class()
        module, _, name = _RUNNERS[alias].partition(":")
        try:
            return getattr(import_module(f"mr_gradient.jobs.{module}"), name)
        except ImportError as error:
            raise UsageError(f"-r {alias}: {error}; install what it needs with: pip install "
                             f"'mr_gradient[{alias}]'") from None
