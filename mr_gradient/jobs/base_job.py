"""What all jobs of this project share: an argument parser built once, safe streams, our runners.

mrjob constructs a job about five times for each run and builds its parser of 150 options, and in
places a second one, every time. That was half of the fixed cost of an iteration.
"""

from __future__ import annotations

import sys
from typing import ClassVar

import mr_gradient.jobs  # noqa: F401  the compatibility module, before mrjob
from mrjob.job import MRJob
from mrjob.runner import MRJobRunner


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

    def _runner_class(self) -> type[MRJobRunner]:
        alias = self.options.runner or "inline"
        if alias == "inline":
            from mr_gradient.jobs.inline_runner import InlineRunner
            return InlineRunner
        if alias == "local":
            from mr_gradient.jobs.local_runner import LocalRunner
            return LocalRunner
        return super()._runner_class()
