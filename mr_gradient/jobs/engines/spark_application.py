"""One application of Spark: its JVM, its context and its folder, from the first job to the last."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

from mr_gradient.errors import UsageError
from mr_gradient.jobs.engines import spark_errors
from mr_gradient.jobs.engines.spark_runner import Settings
from mr_gradient.ownership import owned_folder

_PREFIX = "mr_gradient-spark-"
_SECONDS_TO_END = 10
_SECONDS_OF_EVENTS = 1
#: Between two looks at a running job.
_POLL_SECONDS = 0.25
#: What the JVM may say without -v before its file is emptied.
_MOST_LOG_BYTES = 1 << 20


class Application:
    """Starts at once. ``context``: the SparkContext. Raises ``TaskError`` when it does not start.

    Jobs run in a thread of their own, so that the main thread can look at them, and hears Ctrl-C.
    """

    def __init__(self, settings: Settings, name: str, defaults: dict[str, str]) -> None:
        self.settings = settings
        self._verbose = logging.getLogger("mrjob").isEnabledFor(logging.INFO)
        self._jobs = 0
        self._open = contextlib.ExitStack()
        try:
            self._open.enter_context(_quiet_py4j())
            # Not in memory: Spark writes all that it shuffles.
            self.folder = self._open.enter_context(owned_folder(_PREFIX, tempfile.gettempdir()))
            self._log = os.path.join(self.folder, "log")
            self._gateway = self._open.enter_context(self._jvm({
                "spark.app.name": name, "spark.master": settings.master,
                "spark.local.dir": self.folder, **_defaults(self.folder, settings.is_local),
                **defaults, **settings.early}))
            self.context = self._open.enter_context(self._context())
            self._thread = self._open.enter_context(futures.ThreadPoolExecutor(1))
        except BaseException:
            self._open.close()
            raise

    @contextlib.contextmanager
    def _jvm(self, properties: dict[str, str]) -> Iterator[Any]:
        """The JVM of the driver, behind a gateway."""
        from pyspark.java_gateway import launch_gateway

        words = [word for pair in properties.items() for word in ("--conf", "=".join(pair))]
        arguments = [*words, *self.settings.words,
                     os.environ.get("PYSPARK_SUBMIT_ARGS", "pyspark-shell")]
        # A session of its own: what a terminal sends to this process is for this process to handle.
        options: dict[str, Any] = {"start_new_session": True}
        with contextlib.ExitStack() as streams:
            if not self._verbose:
                log = streams.enter_context(open(self._log, "ab"))
                options |= {"stdout": log, "stderr": log}
            with _variable("PYSPARK_SUBMIT_ARGS", shlex.join(arguments[:-1]) + f" {arguments[-1]}"):
                try:
                    gateway = launch_gateway(popen_kwargs=options)
                except Exception as error:
                    raise spark_errors.of_start(self._said(), error) from error
        try:
            yield gateway
        finally:
            _end(gateway)

    @contextlib.contextmanager
    def _context(self) -> Iterator[Any]:
        """The SparkContext; pyspark's traces in this process go with it."""
        from pyspark import SparkConf, SparkContext

        if SparkContext._active_spark_context is not None:
            raise UsageError("-r spark: this process has a SparkContext already; stop it first")
        path, handler = list(sys.path), signal.getsignal(signal.SIGINT)
        jvm = SparkContext._gateway, SparkContext._jvm
        SparkContext._gateway = SparkContext._jvm = None
        try:
            conf = SparkConf(_jvm=self._gateway.jvm)
            for name, value in self.settings.late.items():
                conf.set(name, value)
            try:
                context = SparkContext(conf=conf, gateway=self._gateway)
            except Exception as error:
                raise spark_errors.of_start(self._said(), error) from error
            finally:
                if threading.current_thread() is threading.main_thread():
                    signal.signal(signal.SIGINT, handler)
            try:
                context.pythonExec = self.settings.python
                yield context
            finally:
                with warnings.catch_warnings(), contextlib.suppress(Exception):
                    warnings.simplefilter("ignore")  # of a JVM that is gone
                    context.stop()
        finally:
            SparkContext._gateway, SparkContext._jvm = jvm
            sys.path[:] = path

    def run(self, title: str, collect: Callable[[], list],
            watch: Callable[[str], None]) -> tuple[list, dict]:
        """What ``collect`` returns, which runs one job, and what Spark tells of the job."""
        self._jobs += 1
        group = f"{self.context.appName}-{self._jobs}"
        self._shorten_log()

        def in_group() -> list:
            self.context.setJobGroup(group, title)
            return collect()

        running = self._thread.submit(in_group)
        try:
            while not futures.wait([running], _POLL_SECONDS).done:
                watch(self._progress(group))
            return running.result(), self._facts(group)
        except Exception as error:
            status = self._gateway.proc.poll()
            raise spark_errors.of_job(error, self._said(), status) from error
        except BaseException:
            with contextlib.suppress(Exception):
                self.context.cancelAllJobs()
            raise

    def _progress(self, group: str) -> str:
        """A few words on the running job."""
        tracker = self.context.statusTracker()
        words = []
        for word, stage in zip(("map", "reduce"), self._stages(group)):
            if found := tracker.getStageInfo(stage):
                words.append(f"{word} {found.numCompletedTasks} of {found.numTasks}")
        if not self.settings.is_local and len(
                self.context._jsc.sc().statusTracker().getExecutorInfos()) < 2:  # one is the driver
            words.append("waiting for executors")
        return "  ".join(words)

    def _stages(self, group: str) -> list[int]:
        """The numbers of a job's stages: its map tasks', then its reduce tasks'."""
        tracker = self.context.statusTracker()
        jobs = (tracker.getJobInfo(number) for number in tracker.getJobIdsForGroup(group))
        return sorted(stage for job in jobs if job for stage in job.stageIds)

    def _facts(self, group: str) -> dict:
        """What the history says of a job that has ended well."""
        tracker, store = self.context.statusTracker(), self.context._jsc.sc().statusStore()
        failed, end = 0, time.monotonic() + _SECONDS_OF_EVENTS
        for number in tracker.getJobIdsForGroup(group):
            # The store hears of the end a moment later than the caller.
            while tracker.getJobInfo(number).status == "RUNNING" and time.monotonic() < end:
                time.sleep(0.005)
            failed += store.job(number).numFailedTasks()
        mapping, reducing = (store.lastStageAttempt(number) for number in self._stages(group))
        return {"application": self.context.applicationId, "url": self.context.uiWebUrl or "",
                "map_tasks": mapping.numTasks(), "reduce_tasks": reducing.numTasks(),
                # Stages that were run again are the mappers', whose output a lost executor had.
                "failed_map_tasks": failed - reducing.numFailedTasks(),
                "failed_reduce_tasks": reducing.numFailedTasks(),
                "shuffled_bytes": mapping.shuffleWriteBytes()}

    def _said(self) -> str:
        """What the JVM wrote; with -v the user has seen it."""
        with contextlib.suppress(OSError), open(self._log, encoding="utf-8",
                                                errors="replace") as file:
            return file.read()
        return ""

    def _shorten_log(self) -> None:
        with contextlib.suppress(OSError):
            if os.path.getsize(self._log) > _MOST_LOG_BYTES:
                os.truncate(self._log, 0)

    def close(self) -> None:
        """End the application, its JVM and its folder."""
        self._open.close()


def _defaults(folder: str, is_local: bool) -> dict[str, str]:
    """Properties, below those of the user. What runs on this machine alone opens no port to others."""
    found = {"spark.ui.showConsoleProgress": "false",
             # The sums of a job are as large as the model.
             "spark.driver.maxResultSize": "0",
             "spark.driver.defaultJavaOptions": f'"-Djava.io.tmpdir={folder}" -XX:-UsePerfData'}
    if is_local:
        found |= {"spark.ui.enabled": "false", "spark.driver.host": "127.0.0.1",
                  "spark.driver.bindAddress": "127.0.0.1",
                  # Other users of this machine can reach its ports; Spark makes the secret.
                  "spark.authenticate": "true"}
    return found


@contextlib.contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    """An environment variable for the block."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


@contextlib.contextmanager
def _quiet_py4j() -> Iterator[None]:
    """py4j tells the root logger of an interrupt, with a traceback, and with a handler that stays."""
    root = logging.getLogger()
    handlers = list(root.handlers)

    def of_others(record: logging.LogRecord) -> bool:
        return f"{os.sep}py4j{os.sep}" not in record.pathname

    root.addFilter(of_others)
    try:
        yield
    finally:
        root.removeFilter(of_others)
        root.handlers[:] = handlers


def _end(gateway: Any) -> None:
    """End the JVM: it does so itself when its stdin closes."""
    with contextlib.suppress(Exception):
        gateway.shutdown()
    process = gateway.proc
    with contextlib.suppress(OSError):
        process.stdin.close()
    try:
        process.wait(_SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
