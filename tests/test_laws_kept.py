"""What keeps the laws in place: one BLAS thread, the lock of a folder, the fingerprints."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits
from trainings import RECIPES, ROOT, After, Silent, class_data, in_a_process, run

from mr_gradient import checkpoint, fingerprint
from mr_gradient.errors import UsageError
from mr_gradient.jobs.launch import job_arguments, launcher

pytestmark = pytest.mark.fast


class Notes(Silent):
    """Keeps what a training says beside its iterations."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


def blas_threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_the_drivers_blas_has_one_thread_and_gets_its_own_number_back():
    np.ones((2, 2)) @ np.ones((2, 2))
    with threadpool_limits(2, "blas"):
        before = blas_threads()
        with launcher(job_arguments("inline", [], False)):
            assert blas_threads() == {1}
        assert blas_threads() == before


def test_a_process_of_a_task_asks_blas_for_one_thread():
    code = "import mr_gradient.jobs.gradient_job, os; print(os.environ['OPENBLAS_NUM_THREADS'])"
    environment = {name: value for name, value in os.environ.items() if "THREADS" not in name}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                           env={**environment, "OPENBLAS_NUM_THREADS": "2", "PYTHONPATH": str(ROOT)})
    assert found.stdout.strip() == "1"


SECOND = """
import sys
from pathlib import Path
from trainings import RECIPES, run
run(sys.argv[1], Path(sys.argv[2]), 9, **RECIPES["softmax"])
"""


@pytest.mark.parametrize("moment", [1, 3])
def test_a_second_driver_on_the_folder_is_refused(tmp_path, moment):
    data = class_data(tmp_path / "data")
    ended = []
    run(data, tmp_path / "model", 4, **RECIPES["softmax"], progress=After(
        moment, lambda: ended.append(in_a_process(SECOND, data.folder, tmp_path / "model"))))
    assert ended[0].returncode == 1
    assert "another process is training in this folder" in ended[0].stderr
    assert checkpoint.iterations(str(tmp_path / "model")) == [3, 4]


def test_a_training_that_began_meanwhile_is_not_overwritten(tmp_path):
    """Both found an empty folder; the other one finished while this one was in iteration 1."""
    from mr_gradient.training_folder import TrainingFolder

    data = class_data(tmp_path / "data")
    late = TrainingFolder(str(tmp_path / "model"), restart=False)
    run(data, tmp_path / "model", 3, **RECIPES["softmax"])
    state = checkpoint.load(str(tmp_path / "model"), 3)
    with pytest.raises(UsageError, match="another training has begun"):
        late.save({"iteration": 1}, dataclasses.replace(state, iteration=1))
    late.close()
    assert checkpoint.iterations(str(tmp_path / "model")) == [2, 3]


def test_a_mixture_of_machines_is_warned_about_once(tmp_path, monkeypatch):
    """The driver of this test claims to be another machine than its children, forked before."""
    data = class_data(tmp_path / "data")
    notes, real = Notes(), fingerprint.describe()
    monkeypatch.setattr("mr_gradient.training.fingerprint.describe",
                        lambda: {**real, "digest": "another"} if os.getpid() == driver else real)
    driver = os.getpid()
    run(data, tmp_path / "model", 4, progress=notes, options=["--num-cores", "2"],
        **RECIPES["softmax"])
    assert len(notes.lines) == 1
    assert "different numpy builds or CPU types" in notes.lines[0]


def test_resuming_on_another_machine_is_warned_about(tmp_path, monkeypatch):
    data, real = class_data(tmp_path / "data"), fingerprint.describe()
    run(data, tmp_path / "model", 2, **RECIPES["softmax"])
    monkeypatch.setattr("mr_gradient.fingerprint.describe", lambda: {**real, "digest": "another"})
    notes = Notes()
    run(data, tmp_path / "model", 3, progress=notes, options=["--num-cores", "1"],
        **RECIPES["softmax"])
    assert any("another numpy build or CPU type" in line for line in notes.lines)


def test_more_shards_than_open_files_are_allowed(tmp_path):
    code = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
from trainings import RECIPES, run
run(sys.argv[1], Path(sys.argv[2]), 2, options=["--num-cores", sys.argv[3]], **RECIPES["softmax"])
"""
    data = class_data(tmp_path / "data", shards=150)
    for cores in (1, 2):
        ended = in_a_process(code, data.folder, tmp_path / str(cores), cores)
        assert ended.returncode == 0, ended.stderr


#: Puts Python 3.14 into every process of an older one: forkserver, and none of the removed modules.
LIKE_3_14 = """
import multiprocessing, sys
class Removed:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("pipes", "distutils", "setuptools", "_distutils_hack"):
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Removed())
multiprocessing.set_start_method("forkserver", force=True)
"""
LOCAL = """
import sys
from pathlib import Path
from trainings import RECIPES, run
if sys.argv[3] == "as mrjob does":
    from mrjob.local import LocalMRJobRunner
    from mr_gradient.jobs.local_runner import LocalRunner
    LocalRunner._run_multiple = LocalMRJobRunner._run_multiple
run(sys.argv[1], Path(sys.argv[2]), 1, runner="local", **RECIPES["softmax"])
"""


@pytest.mark.parametrize("pool", ["ours", "as mrjob does"])
def test_forkserver_without_the_removed_modules(tmp_path, pool):
    """mrjob's own pool hangs there; ours starts no process that would import the job."""
    data = class_data(tmp_path / "data", shards=2)
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(LIKE_3_14)
    semaphores = set(Path("/dev/shm").glob("sem.*"))
    path = os.pathsep.join([str(tmp_path / "site"), str(ROOT), str(ROOT / "tests")])
    process = subprocess.Popen([sys.executable, "-c", LOCAL, data.folder, tmp_path / "model", pool],
                               env={**os.environ, "PYTHONPATH": path}, stderr=subprocess.PIPE,
                               start_new_session=True)
    try:
        _, error = process.communicate(timeout=60 if pool == "ours" else 12)
        assert pool == "ours", "mrjob's own pool is expected to hang"
        assert process.returncode == 0, error.decode()
    except subprocess.TimeoutExpired:
        assert pool == "as mrjob does"
    finally:
        _end_session(process)
    assert set(Path("/dev/shm").glob("sem.*")) <= semaphores


def _end_session(process: subprocess.Popen) -> None:
    """SIGTERM, which multiprocessing's tracker survives, so that it removes the pool's semaphores."""
    for attempt in range(500):
        try:
            os.killpg(process.pid, signal.SIGTERM if attempt < 400 else signal.SIGKILL)
        except ProcessLookupError:
            break
        process.poll()
        time.sleep(0.02)
    process.stderr.close()
    process.wait()
    for base in (Path("/dev/shm"), Path(os.environ.get("TMPDIR", "/tmp"))):
        for left in base.glob(f"mr_gradient-{process.pid}-*"):
            shutil.rmtree(left, ignore_errors=True)


def test_the_fingerprint_sees_which_kernels_blas_was_told_to_use():
    """They give other bits, and a task on a cluster does not inherit the driver's variables."""
    code = "from mr_gradient import fingerprint; print(fingerprint.describe()['digest'])"

    def digest(**changes: str) -> str:
        variables = {name: value for name, value in os.environ.items()
                     if not name.startswith(("OPENBLAS_", "NPY_"))}
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                              env={**variables, "PYTHONPATH": str(ROOT), **changes}).stdout

    assert digest() == digest(OPENBLAS_NUM_THREADS="2")
    assert len({digest(), digest(OPENBLAS_CORETYPE="Haswell"), digest(OPENBLAS_L2_SIZE="512")}) == 3
