"""The floors: import-linter must fail when one is broken, or when a task imports the driver's."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parent.parent

BREACHES = {
    "a model that knows the jobs": ("models/linear.py", "import mr_gradient.jobs.protocol"),
    "an optimizer that knows a model": ("optimizers/sgd.py", "import mr_gradient.models.linear"),
    "the ground that knows a strategy": ("blocks.py", "import mr_gradient.strategies.synchronous"),
    "a job that knows the driver": ("jobs/gradient_job.py", "import mr_gradient.training"),
    "a task that imports a driver's library": ("jobs/gradient_job.py", "import rich"),
    "a reader that imports a driver's library": ("dataset/formats/libsvm.py", "import rich"),
    "a model that imports a driver's library": ("models/losses.py", "import threadpoolctl"),
    "a file outside the floors": ("another_floor.py", "import mr_gradient"),
}


def lint(folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run([Path(sys.executable).parent / "lint-imports", "--no-cache"], cwd=folder,
                          env={"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin"},
                          capture_output=True, text=True, check=False)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "mr_gradient", tmp_path / "mr_gradient")
    shutil.copy(ROOT / "setup.cfg", tmp_path)
    return tmp_path


def test_the_project_keeps_its_contracts(project):
    result = lint(project)
    assert result.returncode == 0, result.stdout
    assert "0 broken" in result.stdout


@pytest.mark.parametrize("breach", BREACHES)
def test_a_breach_is_found(project, breach):
    name, line = BREACHES[breach]
    path = project / "mr_gradient" / name
    path.write_text((path.read_text() if path.exists() else "") + f"\n{line}\n")
    result = lint(project)
    assert result.returncode == 1, result.stdout + result.stderr
    if name == "another_floor.py":
        assert "another_floor" in result.stdout
    else:
        assert "BROKEN" in result.stdout


def test_what_a_task_can_import_is_a_short_list():
    """The contract names what is forbidden; this, over the same graph, what is allowed (law 8)."""
    graph = grimp.build_graph("mr_gradient", include_external_packages=True)
    job = "mr_gradient.jobs.gradient_job"
    reached = {job} | graph.find_upstream_modules(job)
    others = {name.partition(".")[0] for name in reached} - {"mr_gradient"}
    assert others - set(sys.stdlib_module_names) <= {"numpy", "mrjob", "scipy", "fsspec"}


def test_a_task_imports_fsspec_only_for_shards_behind_it():
    code = "import sys, mr_gradient.jobs.gradient_job; print({'fsspec', 'asyncio'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
                           check=True)
    assert found.stdout == "set()\n"
