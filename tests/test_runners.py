"""The inline runner's children, the local runner's processes, and what they leave behind."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from trainings import RECIPES, ROOT, After, bits, class_data, in_a_process, run

from mr_gradient.errors import TaskError
from mr_gradient.jobs import launch
from mr_gradient.jobs.inline_runner import InlineRunner
from mr_gradient.jobs.worker_pool import why_fork_is_unsafe
from mr_gradient.progress import Bar

pytestmark = pytest.mark.fast


def children() -> set[int]:
    """Process numbers of this process's children."""
    tasks = Path(f"/proc/{os.getpid()}/task")
    return {int(pid) for task in tasks.iterdir()
            for pid in (task / "children").read_text().split()}


def scratch_folders() -> set[str]:
    return {name for base in ("/dev/shm", os.environ.get("TMPDIR", "/tmp")) if os.path.isdir(base)
            for name in os.listdir(base) if name.startswith(f"mr_gradient-{os.getpid()}-")}


@pytest.mark.parametrize("cores", ["1", "2"])
def test_local_processes_give_the_bits_of_inline(tmp_path, cores):
    data = class_data(tmp_path / "da ta")
    run(data, tmp_path / "inline", 2, **RECIPES["mlp"])
    run(data, tmp_path / "lo cal", 2, runner="local", options=["--num-cores", cores],
        **RECIPES["mlp"])
    assert bits(tmp_path / "inline") == bits(tmp_path / "lo cal")


FORKSERVER = """
import multiprocessing, sys
multiprocessing.set_start_method("forkserver")
from pathlib import Path
from trainings import RECIPES, run
for runner in ("inline", "local"):
    run(sys.argv[1], Path(sys.argv[2]) / runner, 2, runner=runner, **RECIPES["softmax"])
"""


def test_the_start_method_of_python_3_14_hangs_nothing(tmp_path):
    """mrjob's own local runner hangs under forkserver."""
    data = class_data(tmp_path / "data")
    run(data, tmp_path / "here", 2, **RECIPES["softmax"])
    ended = in_a_process(FORKSERVER, data.folder, tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert bits(tmp_path / "inline") == bits(tmp_path / "local") == bits(tmp_path / "here")


def test_children_live_for_the_training_and_no_longer(tmp_path):
    seen = []
    before = children()
    for moment in (1, 3):
        run(class_data(tmp_path / f"data{moment}"), tmp_path / str(moment), 3,
            progress=After(moment, lambda: seen.append((children() - before, scratch_folders()))),
            options=["--num-cores", "3"], **RECIPES["softmax"])
    for alive, folders in seen:
        assert len(alive) == 3
        assert len(folders) == 1
    assert children() == before
    assert not scratch_folders()


def test_a_child_that_dies_is_one_clear_error(tmp_path):
    def kill_a_child() -> None:
        os.kill(min(children() - before), signal.SIGKILL)

    before = children()
    data = class_data(tmp_path / "data")
    with pytest.raises(TaskError, match=r"killed by signal 9 \(SIGKILL\).*run the same command"):
        run(data, tmp_path / "model", progress=After(2, kill_a_child),
            options=["--num-cores", "2"], **RECIPES["softmax"])
    assert children() == before
    assert not scratch_folders()
    run(data, tmp_path / "model", **RECIPES["softmax"])
    run(data, tmp_path / "undisturbed", **RECIPES["softmax"])
    assert bits(tmp_path / "model") == bits(tmp_path / "undisturbed")


ORPHANED = """
import os, signal, sys
from pathlib import Path
from trainings import RECIPES, After, run
from test_runners import children
def kill():
    print(*children(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
run(sys.argv[1], Path(sys.argv[2]), progress=After(2, kill), options=["--num-cores", "2"],
    **RECIPES["softmax"])
"""


def test_a_killed_driver_leaves_no_process_and_its_folder_goes_with_the_next(tmp_path):
    data = class_data(tmp_path / "data")
    ended = in_a_process(ORPHANED, data.folder, tmp_path / "model")
    orphans = [int(pid) for pid in ended.stdout.split()]
    assert len(orphans) == 2, ended.stderr
    for pid in orphans:  # each ends when it sees that the driver's pipe has closed
        for _ in range(1000):
            if not Path(f"/proc/{pid}").exists() or "Z" in _state(pid):
                break
            threading.Event().wait(0.01)
        else:
            pytest.fail(f"process {pid} outlived its driver")
    left = [name for name in os.listdir("/dev/shm") if name.startswith("mr_gradient-")]
    run(data, tmp_path / "model", **RECIPES["softmax"])
    gone = [name for name in left if not os.path.exists(os.path.join("/dev/shm", name))]
    assert gone, "the killed driver's scratch folder is still there"


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def test_one_process_serves_beside_other_threads(tmp_path):
    """A fork would copy a lock that another thread holds."""
    data = class_data(tmp_path / "data")
    run(data, tmp_path / "alone", 2, **RECIPES["softmax"])
    before, seen = children(), []
    done = threading.Event()
    other = threading.Thread(target=done.wait)
    other.start()
    try:
        assert "threads" in why_fork_is_unsafe()
        run(data, tmp_path / "beside", 2, options=["--num-cores", "4"], **RECIPES["softmax"],
            progress=After(1, lambda: seen.append(children() - before)))
    finally:
        done.set()
        other.join()
    assert seen == [set()]
    assert bits(tmp_path / "alone") == bits(tmp_path / "beside")


@pytest.mark.parametrize("system", ["darwin", "no fork"])
def test_one_process_serves_where_fork_is_absent_or_unsafe(tmp_path, monkeypatch, system):
    if system == "darwin":
        monkeypatch.setattr(sys, "platform", "darwin")
    else:
        monkeypatch.delattr(os, "fork")
    assert why_fork_is_unsafe()
    run(class_data(tmp_path / "data"), tmp_path / "model", 1, **RECIPES["softmax"])


NOISY = """
import sys, warnings
import mr_gradient.jobs
from mr_gradient.jobs.gradient_job import GradientJob
import numpy as np

class NoisyJob(GradientJob):
    def mapper(self, key, line):
        print("a stray print")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("a stray warning")
            np.exp(np.float32(1000) * np.ones(3, np.float32))
        yield from super().mapper(key, line)

if __name__ == "__main__":
    NoisyJob.run()
"""


@pytest.mark.parametrize("runner", ["inline", "local"])
def test_prints_and_warnings_of_a_task_harm_nothing(tmp_path, monkeypatch, runner):
    data = class_data(tmp_path / "data")
    run(data, tmp_path / "quiet", 2, **RECIPES["softmax"])
    (tmp_path / "noisy_job.py").write_text(NOISY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(launch, "GradientJob", __import__("noisy_job").NoisyJob)
    run(data, tmp_path / "noisy", 2, runner=runner, **RECIPES["softmax"])
    sys.modules.pop("noisy_job")
    assert bits(tmp_path / "quiet") == bits(tmp_path / "noisy")


def test_the_cut_of_the_manifest_follows_the_processes(tmp_path):
    """Two processes get two tasks, so that each sums its neighbouring splits itself."""
    sizes = []

    class Watched(InlineRunner):
        def _split_mapper_input(self, *arguments):
            sizes.append(len(splits := super()._split_mapper_input(*arguments)))
            return splits

    data = class_data(tmp_path / "data", shards=8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mr_gradient.jobs.inline_runner.InlineRunner", Watched)
        for cores in ("1", "2", "4"):
            run(data, tmp_path / cores, 1, options=["--num-cores", cores], **RECIPES["softmax"])
    assert sizes == [1, 1, 2, 2, 4, 4]


def test_a_task_imports_only_what_the_contract_allows(tmp_path):
    """Law 8, seen in a mapper's own process."""
    data = class_data(tmp_path / "data", shards=1)
    code = ("import sys\nsys.argv = ['gradient_job.py', '--mapper', '--params', sys.argv[1]]\n"
            "from mr_gradient.jobs.gradient_job import GradientJob\nGradientJob.run()\n"
            "print(*sorted({name.partition('.')[0] for name in sys.modules} "
            "- set(sys.stdlib_module_names)), file=sys.stderr)")
    from mr_gradient import models
    from mr_gradient.jobs import broadcast, manifest
    from mr_gradient.models.base import layout

    model = models.create("softmax", 6, "class", 3, {})
    broadcast.write(str(tmp_path / "params"),
                    broadcast.Settings(models.to_json(model), 6, 3, "float32", 64),
                    [{name: array.astype("f4") for name, array in model.init(0).items()}])
    assert layout(model).size == 21
    line = manifest.to_lines(manifest.make_splits(data))
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path / "params")], input=line,
                           capture_output=True, check=False,
                           env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert ended.returncode == 0, ended.stderr.decode()
    assert ended.stdout.count(b"summary\t") == 2  # one training and one held-out split
    loaded = set(ended.stderr.decode().splitlines()[-1].split())
    allowed = {"__main__", "mr_gradient", "mrjob", "numpy", "yaml", "_yaml", "pipes"}
    # What an installation puts into every process, and what yaml's own extension brings.
    every_process = ("__editable__", "_distutils_hack", "sitecustomize", "_cython", "cython_runtime")
    assert {name for name in loaded if not name.startswith(every_process)} <= allowed


def test_a_progress_bar_has_no_thread_and_the_children_fork_beside_it(tmp_path, capfd):
    seen, before = [], children()

    class Watched(Bar):
        def iteration(self, line: dict) -> None:
            super().iteration(line)
            seen.append((threading.active_count(), len(children() - before)))

    run(class_data(tmp_path / "data"), tmp_path / "model", 3, progress=Watched(3, 0),
        options=["--num-cores", "2"], **RECIPES["softmax"])
    assert seen == [(1, 2)] * 3
    assert "3/3" in capfd.readouterr().err


def test_many_open_files_are_no_hindrance(tmp_path):
    """A driver may have more shards mapped than ``select`` can count."""
    data = class_data(tmp_path / "data")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        run(data, tmp_path / "model", 2, options=["--num-cores", "2"], **RECIPES["softmax"])
    finally:
        for each in held:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
