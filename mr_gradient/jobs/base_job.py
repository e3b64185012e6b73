"""What all jobs of this project share: an argument parser built once, safe streams, our runners.

mrjob constructs a job about five times for each run and builds its parser of 150 options, and in
places a second one, every time. That was half of the fixed cost of an iteration.
"""

from __future__ import annotations

import sys
from typing import ClassVar

from mrjob.job import MRJob
from mrjob.runner import MRJobRunner
from mrjob.setup import parse_legacy_hash_path


class BaseJob(MRJob):
    """An ordinary MRJob; subclasses declare their options in ``add_options``."""

    _parsers: ClassVar[dict[type, tuple]] = {}

    def add_options(self) -> None:
        """Declare options with ``add_passthru_arg`` and ``add_file_arg``."""

    def configure_args(self) -> None:
        if type(self) not in self._parsers:
            super().configure_args()
            self.add_options()
            self._parsers[type(self)] = (
                self.arg_parser, self._passthru_arg_dests, self._file_arg_dests)
        self.arg_parser, self._passthru_arg_dests, self._file_arg_dests = self._parsers[type(self)]

    def execute(self) -> None:
        """Run a task or the whole job. In a task, prints and warnings go to stderr."""
        if self.is_task():
            # A stray print on stdout would corrupt the records.
            self._stdout = self.stdout
            sys.stdout = sys.stderr
        super().execute()

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
        if alias == "inline":
            from mr_gradient.jobs.inline_runner import InlineRunner
            return InlineRunner
        if alias == "local":
            from mr_gradient.jobs.local_runner import LocalRunner
            return LocalRunner
        return super()._runner_class()
