"""Running a job from the driver: scratch folder, arguments, runner, records."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

from mrjob.parse import is_uri
from threadpoolctl import threadpool_limits

from mr_gradient.errors import MrGradientError, TaskError, UsageError
from mr_gradient.jobs import facts, model_code
from mr_gradient.jobs.engines import RUNNERS, Engine, Work, engine_of, make_engine
from mr_gradient.jobs.gradient_job import GradientJob
from mr_gradient.jobs.inline_runner import InlineRunner
from mr_gradient.jobs.protocol import SUMMARY
from mr_gradient.models.source_code import Code
from mr_gradient.ownership import owned_folder
from mr_gradient.partial_gradient import Node

_PREFIX = "mr_gradient-"
_RESERVED = ("params", "errors_as_records", "verify_shards", "output_dir", "cat_output", "run_mapper",
             "run_combiner", "run_reducer", "run_spark", "step_output_dir", "args", *model_code.OPTIONS)


@dataclass
class JobOutput:
    """What a gradient job yields: a node for each block, a summary for each split.

    ``facts``: what the engine and the summaries tell of the job.
    """

    blocks: dict[int, Node] = field(default_factory=dict)
    summaries: list[dict] = field(default_factory=list)
    facts: dict = field(default_factory=dict)


@dataclass
class Launcher:
    """Runs gradient jobs on one engine, with files in one scratch folder.

    ``code``: of a user's own model, which ``options`` ship to the tasks.
    """

    engine: Engine
    scratch: str
    code: Code | None = None
    options: tuple[str, ...] = ()
    jobs: int = 0

    def run(self, params: str, manifest: str, job: type[GradientJob] = GradientJob,
            title: str = "", blocks: int = 1, held_bytes: int = 0,
            data_bytes: int = 0) -> JobOutput:
        """Run one job over a manifest, and read its output.

        ``blocks``: how many there are; ``held_bytes``: what a mapper holds of parameters and sums,
        ``data_bytes``: of the data.
        The first job of a driver has the tasks compare the shards with their checksums.
        Raises the task's own error, or ``TaskError``.
        """
        verify = [] if self.jobs else ["--verify-shards"]
        work = Work(job, manifest, {"--params": params}, (*self.options, *verify), title, blocks,
                    map_bytes=held_bytes + data_bytes, reduce_bytes=held_bytes // max(1, blocks))
        output = JobOutput()
        for key, value in self.engine.run(work):
            if key == SUMMARY:
                output.summaries.append(value)
            elif key in output.blocks:
                raise TaskError(f"block {key} came from two reducers")
            else:
                output.blocks[key] = value
        of_engine = self.engine.facts
        output.facts = {**of_engine, **facts.of_summaries(output.summaries),
                        # A driver sees its own machine; of a cluster it shows what the tasks tell.
                        **(facts.of_nodes(output.summaries) if of_engine else {})}
        self.jobs += 1
        return output


def job_arguments(runner: str, options: list[str], verbose: bool) -> list[str]:
    """Check a runner's name and mrjob's options; returns them as arguments of a job.

    Raises ``UsageError`` for a runner or an option that mrjob does not know.
    """
    if runner == "dataproc":
        raise UsageError("-r dataproc: Google's Dataproc is not supported; run this on its master node "
                         "with -r hadoop")
    if runner not in RUNNERS:
        raise UsageError(f"-r {runner}: must be one of {', '.join(RUNNERS)}")
    arguments = ["-r", runner, *options]
    try:
        job = GradientJob(arguments)
    except ValueError as error:
        raise UsageError(str(error)) from None
    defaults = GradientJob(["-r", runner])
    for name in _RESERVED:
        if getattr(job.options, name) != getattr(defaults.options, name):
            value = getattr(job.options, name)
            given = {each.partition("=")[0] for each in options}
            found = f"argument {value[0]!r}" if name == "args" else next(
                (option for action in job.arg_parser._actions if action.dest == name
                 for option in action.option_strings if option in given),
                "--" + name.replace("_", "-"))
            raise UsageError(f"{found}: not an option of this command; see --help")
    if job.options.ship_env and not engine_of(runner).ships:
        raise UsageError(f"--ship-env: is for -r hadoop; -r {runner} sends no packages to its tasks")
    set_up_logging(verbose)
    for path in job.options.conf_paths or []:
        if not os.path.isfile(path):
            raise UsageError(f"-c {path}: no such file; it must be a configuration file of mrjob")
    try:
        # The first runner reads the configuration files and looks for what is to be uploaded.
        with job.make_runner() as made:
            cores = made._opts.get("num_cores")
            if cores is not None and not (isinstance(cores, int) and cores >= 1):
                raise UsageError(f"--num-cores {cores}: must be a whole number from 1")
            for path in made._working_dir_mgr.paths():
                if not is_uri(path) and not os.path.exists(path):
                    raise UsageError(f"{path}: no such file; it was to be uploaded with the job")
    except MrGradientError:
        raise
    except Exception as error:
        raise UsageError(f"-r {runner}: mrjob refuses its options or its configuration file: "
                         f"{type(error).__name__}: {' '.join(str(error).split())}") from None
    return arguments


def elsewhere(arguments: list[str]) -> str:
    """See ``Engine.elsewhere``; of the engine that ``launcher`` makes."""
    return engine_of(GradientJob(arguments).options.runner or "inline").elsewhere_for(arguments)


def check_data(arguments: list[str], data: str) -> None:
    """Raises ``UsageError`` for a data set that the tasks of a cluster cannot read."""
    if elsewhere(arguments) and not is_uri(data):
        raise UsageError(f"--data {data}: tasks of {' '.join(arguments[:2])} run on other machines; "
                         "prepare it with --out hdfs:///... or another URI, or, if the folder is on a "
                         f"mount of all of them, name it file://{os.path.abspath(data)}")


def set_up_logging(verbose: bool) -> None:
    """mrjob's log goes to stderr with ``-v`` and nowhere without."""
    logger = logging.getLogger("mrjob")
    logger.handlers[:] = [logging.StreamHandler() if verbose else logging.NullHandler()]
    logger.setLevel(logging.INFO if verbose else logging.CRITICAL + 1)
    logger.propagate = False


@contextlib.contextmanager
def launcher(arguments: list[str], broadcast_bytes: int = 0, code: Code | None = None,
             run: str = "") -> Iterator[Launcher]:
    """A launcher with a scratch folder and an engine that live as long as the block.

    ``run``: a name that only drivers of the same training share; by default nobody's.
    Within it the driver's BLAS, which may have been loaded long ago, is held to one thread (law 2),
    and so are the children that are forked from it.
    """
    _allow_many_open_files()
    with threadpool_limits(limits=1, user_api="blas"), \
            _scratch_folder(broadcast_bytes) as scratch, InlineRunner.kept_workers():
        options = GradientJob(arguments).options
        if not options.local_tmp_dir:
            arguments = [*arguments, "--local-tmp-dir", scratch]
        engine = make_engine(options.runner, arguments, scratch, run or uuid.uuid4().hex[:12])
        with contextlib.closing(engine):
            yield Launcher(engine, scratch, code, tuple(model_code.arguments(code, scratch)))


@contextlib.contextmanager
def _scratch_folder(broadcast_bytes: int) -> Iterator[str]:
    """A private folder, in memory where there is plenty; those of killed drivers are removed.

    An iteration writes about a dozen small files; on a disk that took twice as long as the work.
    """
    base = tempfile.gettempdir()
    with contextlib.suppress(OSError):
        room = os.statvfs("/dev/shm")
        if os.access("/dev/shm", os.W_OK) and room.f_bavail * room.f_frsize > 64 * broadcast_bytes:
            base = "/dev/shm"
    with owned_folder(_PREFIX, base) as folder:
        yield folder


def _allow_many_open_files() -> None:
    """A mapped shard keeps a descriptor; the usual limit of 1,024 is a soft one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS takes no unlimited number
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with contextlib.suppress(ValueError, OSError):
        if resource.getrlimit(resource.RLIMIT_NOFILE)[0] == soft:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 10240), hard))
