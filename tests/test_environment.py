"""What ``--ship-env`` packs: the packages that tasks import, and nothing of this machine."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from types import SimpleNamespace

import pytest
from cli_tools import command

from mr_gradient.errors import UsageError
from mr_gradient.jobs.engines import distributions
from mr_gradient.jobs.engines.environment import ENDING, Environment
from mr_gradient.jobs.gradient_job import GradientJob
from mr_gradient.jobs.prepare_job import PrepareJob

pytestmark = pytest.mark.fast
OWN_MODEL = ("--model-factory", "model.py:make")
REMOVED = object()


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of packages with a small stand-in for numpy; nothing else is installed."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.setattr(sys, "path", [str(folder)])
    install(folder, "numpy", {"numpy/__init__.py": "import scipy_like\n", "numpy/core.so": "binary",
                              "numpy/tests/test_it.py": "", "numpy.libs/blas.so": "more"},
            requires=["Scipy_Like>=1; python_version > '3'", "pytest; extra == 'test'", "not-here"])
    install(folder, "scipy.like", {"scipy_like.py": "VALUE = 41 + 1\n"})
    install(folder, "pytest", {"pytest/__init__.py": ""})
    return folder


def install(folder, name, files, requires=(), editable=False, **changes):
    """As pip does it. ``changes``: of what is written about the package."""
    about = {"METADATA": "\n".join([f"Name: {name}", "Version: 1",
                                    *(f"Requires-Dist: {each}" for each in requires)]),
             "INSTALLER": "pip\n", "entry_points.txt": "[console_scripts]\n",
             "direct_url.json": json.dumps({"url": f"file://{folder}",
                                            "dir_info": {"editable": editable}}), **changes}
    inside = {**files, **{f"{name}-1.dist-info/{each}": text for each, text in about.items()
                          if text is not REMOVED}}
    for member, text in inside.items():
        path = folder / member
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    record = [*inside, "../../../bin/program", "numpy/__pycache__/__init__.cpython-311.pyc"]
    if about.get("RECORD") is not REMOVED:
        (folder / f"{name}-1.dist-info" / "RECORD").write_text(
            "".join(f"{each},,\n" for each in record))


def packed(kind=GradientJob, options=(), manifest=os.devnull) -> Environment:
    return Environment.of(SimpleNamespace(kind=kind, options=options, manifest=manifest))


def modules(environment: Environment) -> list[str]:
    return [name for name in environment.members if ".dist-info/" not in name]


def contents(environment: Environment, path) -> dict[str, bytes]:
    environment.write(str(path))
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def test_what_tasks_import_with_its_requirements(site):
    assert modules(packed()) == [
        "numpy.libs/blas.so", "numpy/__init__.py", "numpy/core.so", "scipy_like.py"]
    assert [name for name in packed().members if ".dist-info/" in name] == [
        f"{name}-1.dist-info/{each}" for name in ("numpy", "scipy.like")
        for each in ("METADATA", "entry_points.txt")]
    install(site, "pyarrow", {"pyarrow/__init__.py": "", "pyarrow/tests/__init__.py": ""})
    assert "pyarrow/__init__.py" not in packed().members
    assert "pyarrow/__init__.py" in packed(PrepareJob).members


def test_what_reads_data_at_a_store(site, tmp_path):
    install(site, "s3fs", {"s3fs.py": ""})
    manifest = tmp_path / "manifest"
    for shard, sent in (("/data/s3://", False), ("hdfs:///a", False), ("file:///a", False),
                        ("s3://b/a", True)):
        manifest.write_text('{"split": 0, "shard": "hdfs://n/b"}\n'
                            f'{{"split": 1, "shard": "{shard}"}}\n')
        assert ("s3fs.py" in packed(manifest=manifest).members) == sent, shard
    assert "s3fs.py" in packed(PrepareJob).members


def test_a_model_of_the_users_own_gets_everything(site):
    install(site, "jax", {"jax/__init__.py": "", "jax/tests/kept.py": ""})
    install(site, "from-apt", {"from_apt.py": ""}, RECORD=REMOVED)
    for name in ("mr_gradient", "mrjob", "pip"):
        install(site, name, {f"{name}/__init__.py": ""})
    found = modules(packed(options=OWN_MODEL))
    assert {name.split("/")[0] for name in found} == {
        "numpy", "numpy.libs", "scipy_like.py", "pytest", "jax"}
    assert "jax/tests/kept.py" in found


def test_it_works_from_anywhere_without_this_machines_folders(site, tmp_path):
    install(site, "templates", {"templates/bad.py": "{{ no python }}\n",
                                "templates/ok.py": "OK = 1\n"})
    found = contents(packed(options=OWN_MODEL), tmp_path / "a.zip")
    assert not [name for name, data in found.items() if os.fsencode(tmp_path) in data]
    assert importlib.util.cache_from_source("templates/ok.py") in found
    assert importlib.util.cache_from_source("templates/bad.py") not in found
    with zipfile.ZipFile(tmp_path / "a.zip") as file:
        file.extractall(tmp_path / "node")
    # A compiled module is used as it is, whenever its source was written.
    (tmp_path / "node" / "scipy_like.py").write_text("VALUE = 0\n")
    done = subprocess.run([sys.executable, "-S", "-c", "import numpy; print(numpy.scipy_like.VALUE)"],
                          env={"PYTHONPATH": "node"}, cwd=tmp_path, capture_output=True, text=True,
                          check=True)
    assert done.stdout == "42\n"


def test_the_same_files_are_the_same_archive(site, tmp_path):
    first = packed()
    found = contents(first, tmp_path / "a.zip")
    os.utime(site / "scipy_like.py", (1, 1))
    again = packed()
    assert again.digest == first.digest
    assert contents(again, tmp_path / "b.zip") == found
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    (site / "scipy_like.py").write_text("VALUE = 43\n")
    assert packed().digest != first.digest


def test_the_digest_is_for_one_python(site, monkeypatch):
    first = packed().digest
    monkeypatch.setattr("mr_gradient.jobs.engines.environment.ENDING", ".cpython-399.so")
    assert packed().digest != first
    assert ENDING != ".cpython-399.so"


@pytest.mark.parametrize("declared", ["MAPPING: dict[str, str]", "MAPPING"])
def test_packages_that_are_edited_where_they_are(site, tmp_path, declared):
    for name in ("mapped", "source/below", "flat/single"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "__init__.py").write_text(f"NAME = {name!r}\n")
    (tmp_path / "mapped" / "__pycache__").mkdir()
    (tmp_path / "mapped" / "__pycache__" / "x.pyc").write_text("")
    (tmp_path / "mapped" / "data.txt").write_text("data")
    (tmp_path / "module.py").write_text("")
    mapping = {"mapped": str(tmp_path / "mapped"), "module": str(tmp_path / "module")}
    install(site, "one", {"__editable___one_finder.py": f"X = 1\n{declared} = {mapping!r}\n",
                          "__editable__.one.pth": "import __editable___one_finder"}, editable=True)
    install(site, "two", {"__editable__.two.pth": f"{tmp_path / 'source'}\n"}, editable=True,
            **{"top_level.txt": "below\n"})
    install(site, "three", {"_three.pth": f"{tmp_path / 'flat'}\n"}, editable=True)
    found = modules(packed(options=OWN_MODEL))
    assert {"mapped/__init__.py", "mapped/data.txt", "module.py", "below/__init__.py",
            "single/__init__.py"} <= {*found}
    assert not [name for name in found if name.endswith((".pth", ".pyc")) or "__editable__" in name]
    inside = contents(packed(options=OWN_MODEL), tmp_path / "a.zip")
    assert not [name for name, data in inside.items() if os.fsencode(tmp_path) in data]


def test_what_cannot_be_packed_is_named(site):
    install(site, "hooked", {"_hooked_loader.py": "def install(): pass\n"}, editable=True)
    with pytest.raises(UsageError, match=r"^--ship-env: hooked was installed with 'pip install -e' "
                                         r"in a way .*; install it without -e$"):
        packed(options=OWN_MODEL)
    (site / "numpy" / "core.so").unlink()
    with pytest.raises(UsageError, match=r"^--ship-env: .*/numpy/core.so of numpy is missing; install"):
        packed()


@pytest.mark.parametrize("about", [{"RECORD": REMOVED}, {"INSTALLER": "conda"}])
def test_what_pip_did_not_install_is_refused(site, about):
    (site / "numpy-1.dist-info" / "RECORD").unlink()
    install(site, "numpy", {"numpy/__init__.py": ""}, **about)
    with pytest.raises(UsageError, match=r"numpy was not installed by pip.*python -m venv"):
        packed()
    with pytest.raises(UsageError, match=r"numpy must be installed by pip.*python -m venv"):
        packed(options=OWN_MODEL)


def test_the_packages_of_this_very_python():
    everything = distributions.installed()
    assert distributions.has_files(everything["numpy"])
    names = packed().members
    assert "numpy/__init__.py" in names
    assert any(name.startswith("numpy/") and name.endswith(ENDING) for name in names)
    assert not {name.split("/")[0] for name in names} & {"mrjob", "pip", "pytest", "mr_gradient"}


@pytest.mark.parametrize("runner", ["inline", "local"])
@pytest.mark.parametrize("argv", [["prepare", "x.csv", "--out", "x"],
                                  ["evaluate", "--model", "m", "--data", "x"],
                                  ["train", "--data", "x", "--model", "softmax", "--out", "m"]])
def test_where_nothing_has_to_be_sent(argv, runner, capfd):
    assert command(*argv, "-r", runner, "--ship-env") == 2
    assert capfd.readouterr().err == (
        f"mr-gradient: --ship-env: is for -r hadoop; -r {runner} sends no packages to its tasks\n")
