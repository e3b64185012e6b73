"""Models of one's own through the commands: shipped to the tasks, checked, saved, named again."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from cli_tools import ROOT, answer, assert_one_line, command, refused, write_csv
from trainings import After, bits, run

from mr_gradient import model_folder
from mr_gradient.dataset.writer import write_arrays
from mr_gradient.errors import DivergenceError, ModelError, UsageError
from mr_gradient.evaluation import evaluate
from mr_gradient.models import source_code
from mr_gradient.models.check import check_model

pytestmark = pytest.mark.fast

MACHINE = ROOT / "examples" / "own_model" / "factorization_machine.py"
OPTIONS = {"model_options": {"factors": 3}, "optimizer": "lbfgs", "l2": 1e-4}


def products(rows: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Values that only products of features tell: no linear model finds anything."""
    x = np.random.default_rng(3).standard_normal((rows, 5))
    return x.astype(np.float32), (x[:, 0] * x[:, 1] - x[:, 2] * x[:, 3]).astype(np.float32)


def two_classes(folder: Path, shards: int = 4):
    x, value = products()
    return write_arrays(str(folder), x[60:], (value[60:] > 0).astype(np.uint8), classes=("no", "yes"),
                        shards=shards, held_out=(x[:60], (value[:60] > 0).astype(np.uint8)))


def own(folder: Path, change: tuple[str, str] = ("", ""), name: str = "own.py") -> str:
    """The example with something else in it, as ``--model`` names it."""
    source = MACHINE.read_text()
    assert change[0] in source
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(source.replace(*change))
    return f"{folder / name}:make"


def factory(**options):
    """The example's factory, loaded as a task does."""
    return source_code.load(source_code.find(f"{MACHINE}:make", "--model"))(**options)


@pytest.mark.parametrize(("kind", "classes"), [("value", 0), ("class", 2)])
def test_the_example_is_a_factorization_machine(kind, classes):
    """Equation 1 of Rendle 2010 as it stands, pair by pair; the gradient is checked by the checker."""
    model = factory(features=6, kind=kind, classes=classes, factors=4)
    check_model(model, 6, kind, classes)
    generator = np.random.default_rng(0)
    w0, w = generator.normal(size=1), generator.normal(size=6)
    v, x = generator.normal(size=(6, 4)), generator.normal(size=(9, 6))
    expected = [w0[0] + w @ row + sum(v[i] @ v[j] * row[i] * row[j]
                                      for i in range(6) for j in range(i + 1, 6)) for row in x]
    parameters = {"bias": w0, "weight": w, "factors": v}
    found = model.predict(parameters, x)
    if kind == "class":
        found = np.log(found[:, 1] / found[:, 0])
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_the_example_from_the_table_to_the_evaluation(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x, value = products(400)
    write_csv(tmp_path / "table.csv", x, np.where(value > 0, "yes", "no").tolist())
    assert command("prepare", "table.csv", "--out", "data", "--test-fraction", "0.25",
                   "--shards", "3") == 0
    model = ("--model", f"{MACHINE}:make", "--model-options", '{"factors": 3}')
    trained = answer(capfd, "train", "--data", "data", *model, "--optimizer", "lbfgs", "--l2", "1e-3",
                     "--iterations", "40", "--out", "model")
    assert trained["held_out"]["accuracy"] > 0.9
    logistic = answer(capfd, "train", "--data", "data", "--model", "logistic", "--out", "linear")
    assert logistic["held_out"]["accuracy"] < 0.7
    assert (tmp_path / "model/model.py").read_bytes() == MACHINE.read_bytes()
    refused(capfd, tmp_path, "evaluate", "--model", "model", "--data", "data",
            words=("model: is a model of your own", "add --model-code model/model.py:make"))
    named = ("--model-code", "model/model.py:make")
    measured = answer(capfd, "evaluate", "--model", "model", "--data", "data", *named)
    assert measured["loss"] == trained["held_out"]["loss"]
    assert measured["auc"] > 0.95
    refused(capfd, tmp_path, "evaluate", "--model", "linear", "--data", "data", *named,
            words=("linear is no model of your own; leave it out",))
    refused(capfd, tmp_path, "evaluate", "--model", "model", "--data", "data", "--model-code",
            own(tmp_path / "own", ("spread=0.05", "spread=0.1")),
            words=("is not what model was trained with", "name model/model.py:make"))
    assert command("prepare", "table.csv", "--like", "model", "--out", "again") == 0
    capfd.readouterr()


def test_the_commands_of_the_examples_readme_give_what_it_says(tmp_path, capfd, monkeypatch):
    """To what another processor's rounding leaves of two hundred iterations."""
    monkeypatch.chdir(tmp_path)
    for folder in ("data", "examples"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    block, = re.findall(r"```console\n(.*?)```", (MACHINE.parent / "README.md").read_text(), re.S)
    steps = [each.split("\n", 1) for each in block.removeprefix("$ ").split("\n$ ")]
    assert [line.split()[1] for line, _ in steps] == ["prepare", "train", "train", "evaluate"]
    for line, expected in steps:
        assert command(*shlex.split(line)[1:]) == 0
        out = capfd.readouterr().out
        for said in re.findall(r"r2 +([\d.]+)", expected):
            assert float(*re.findall(r"r2 +([\d.]+)", out)) == pytest.approx(float(said), abs=0.03)


def test_bits_are_the_same_everywhere_and_after_a_resume(tmp_path, monkeypatch):
    data, model = two_classes(tmp_path / "data"), f"{MACHINE}:make"
    run(data, tmp_path / "one", 4, model=model, options=["--num-cores", "1"], **OPTIONS)
    run(data, tmp_path / "two", 4, model=model, options=["--num-cores", "2"], **OPTIONS)
    # From another folder, with a path of its own, after a move of the file.
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(MACHINE, tmp_path / "elsewhere/machine.py")
    monkeypatch.chdir(tmp_path / "elsewhere")
    run(data, tmp_path / "resumed", 2, model=model, **OPTIONS)
    run(data, tmp_path / "resumed", 4, model="machine.py:make", **OPTIONS)
    assert bits(tmp_path / "one") == bits(tmp_path / "two") == bits(tmp_path / "resumed")
    kept = (tmp_path / "resumed/config.yaml").read_text()
    assert f"model: {tmp_path}/elsewhere/machine.py:make\n" in kept


def test_local_sgd_patience_and_a_warm_start(tmp_path):
    data, model = two_classes(tmp_path / "data"), f"{MACHINE}:make"
    fields = {"model_options": {"factors": 3}, "strategy": "local-sgd", "optimizer": "adam",
              "learning_rate": 0.05, "batch_size": 16}
    first = run(data, tmp_path / "first", 15, model=model, **fields)
    assert first["accuracy"] > 0.9
    # Another factory may go on with the parameters; the old one's Python is not needed.
    changed = own(tmp_path / "changed", ("spread=0.05", "spread=1.0"))
    second = run(data, tmp_path / "second", 60, model=changed, warm_start=str(tmp_path / "first"),
                 patience=3, **fields | {"learning_rate": 0.3})
    lines = (tmp_path / "second/history.jsonl").read_text().splitlines()
    history = [json.loads(line) for line in lines]
    assert history[0]["held_out"]["loss"] == pytest.approx(first["held_out"]["loss"], rel=1e-5)
    assert len(history) < 60
    assert second["held_out"]["loss"] == pytest.approx(
        min(line["held_out"]["loss"] for line in history), rel=1e-6)


def test_another_file_is_another_training(tmp_path):
    data = two_classes(tmp_path / "data")
    run(data, tmp_path / "model", 2, model=own(tmp_path / "own"), **OPTIONS)
    changed = own(tmp_path / "own", ("spread=0.05", "spread=0.1"))
    with pytest.raises(UsageError, match=r"the file of the model has changed; .*--restart"):
        run(data, tmp_path / "model", 3, model=changed, **OPTIONS)
    with pytest.raises(UsageError, match=r"--model-options was .*3.* and is .*4"):
        run(data, tmp_path / "model", 3, model=own(tmp_path / "own"),
            **OPTIONS | {"model_options": {"factors": 4}})
    run(data, tmp_path / "model", 3, model="logistic", restart=True)
    assert not (tmp_path / "model/model.py").exists()


def test_tasks_that_are_processes_and_an_edit_during_the_training(tmp_path, monkeypatch):
    """They get a copy of the file as it was when the training began."""
    data = two_classes(tmp_path / "data", shards=1)
    monkeypatch.chdir(tmp_path)
    run(data, tmp_path / "inline", 2, model=own(tmp_path), **OPTIONS)
    run(data, tmp_path / "local", 2, model="own.py:make", runner="local", progress=After(
        1, lambda: (tmp_path / "own.py").write_text("raise RuntimeError")), **OPTIONS)
    assert bits(tmp_path / "inline") == bits(tmp_path / "local")


def test_nothing_that_was_saved_or_sent_runs_by_itself(tmp_path):
    """Law 6: not the copy in the model's folder, not what model.json or a broadcast names."""
    data, marker = two_classes(tmp_path / "data"), tmp_path / "it ran"
    run(data, tmp_path / "model", 1, model=own(tmp_path / "own"), **OPTIONS)
    source_code._modules.clear()
    trap = tmp_path / "model/model.py"
    trap.write_text(f"open({str(marker)!r}, 'w')\n{trap.read_text()}")
    path = tmp_path / "model/model.json"
    value = json.loads(path.read_text())
    for factory_name in ("own.py:make", f"{trap}:make", "os:system"):
        value["model"] = json.dumps({**json.loads(value["model"]), "factory": factory_name})
        path.write_text(json.dumps(value))
        for named in ("", f"{MACHINE}:make", f"{trap}:make"):
            if factory_name.endswith(":make") and named == f"{MACHINE}:make":
                continue  # named again, and what was trained: wherever model.json says that it lies
            with pytest.raises(UsageError, match="--model-code"):
                evaluate(str(tmp_path / "model"), data.folder, model_code=named)
        model_folder.read(str(tmp_path / "model"))
    assert not marker.exists()


SIBLING = ("import numpy as np", "import numpy as np\nfrom helper_of_own import FACTORS")


def test_files_beside_it_are_found_here_and_shipped_when_named(tmp_path):
    data = two_classes(tmp_path / "data", shards=1)
    model = own(tmp_path / "own", SIBLING)
    (tmp_path / "own/helper_of_own.py").write_text("FACTORS = 8\n")
    run(data, tmp_path / "inline", 1, model=model, options=["--num-cores", "2"], **OPTIONS)
    with pytest.raises(ModelError, match=r"own.py:make: cannot be loaded: ModuleNotFoundError: No "
                       r"module named 'helper_of_own' \(line \d+\); .*--files"):
        run(data, tmp_path / "local", 1, model=model, runner="local", **OPTIONS)
    run(data, tmp_path / "local", 1, model=model, runner="local",
        options=["--files", str(tmp_path / "own/helper_of_own.py")], **OPTIONS)
    assert bits(tmp_path / "inline") == bits(tmp_path / "local")


def test_a_module_of_a_package(tmp_path, monkeypatch):
    data = two_classes(tmp_path / "data", shards=1)
    own(tmp_path / "a_package_of_mine", name="machine.py")
    (tmp_path / "a_package_of_mine/__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    model = "a_package_of_mine.machine:make"
    run(data, tmp_path / "inline", 1, model=model, **OPTIONS)
    run(data, tmp_path / "local", 1, model=model, runner="local", **OPTIONS)
    assert bits(tmp_path / "inline") == bits(tmp_path / "local")
    assert not (tmp_path / "inline/model.py").exists()
    with pytest.raises(UsageError, match=f"add --model-code {re.escape(model)}$"):
        evaluate(str(tmp_path / "inline"), data.folder)
    assert evaluate(str(tmp_path / "inline"), data.folder, model_code=model)["examples"] == 60


REFUSED = {
    "a file that is not there": ("nothing.py:make", {}, "nothing.py cannot be read: No such file"),
    "no factory": ("own.py", {}, "must name a factory too"),
    "another factory": ("own.py:mak", {}, "no function mak; it has make, FactorizationMachine"),
    "a module that is not there": ("no_such.thing:make", {}, "No module named 'no_such'"),
    "a module without a file": ("sys:exit", {}, "no module sys with a file"),
    "neither": ("some thing:make", {}, "neither a .py file nor a module"),
    "an option that it lacks": ("own.py:make", {"facts": 3}, "unexpected keyword argument 'facts'"),
    "an option of the data": ("own.py:make", {"classes": 3}, "classes comes from the data set"),
    "an option that is no data": ("own.py:make", {"factors": {1, 2}}, "must be plain data"),
    "a wrong option": ("own.py:make", {"factors": "many"}, "tensors(): 'factors' must be Tensor("),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_made_is_refused_before_anything_is_written(tmp_path, monkeypatch, case):
    model, options, words = REFUSED[case]
    data = two_classes(tmp_path / "data")
    own(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises((UsageError, ModelError)) as raised:
        run(data, tmp_path / "model", 1, model=model, model_options=options)
    assert words in str(raised.value)
    assert not (tmp_path / "model").exists()


def test_options_of_a_model_that_has_none(tmp_path, capfd):
    data = two_classes(tmp_path / "data")
    for options, words in (('{"factors": 3}', "--model softmax has none"), ("3", "must be like")):
        refused(capfd, tmp_path, "train", "--data", data.folder, "--model", "softmax",
                "--model-options", options, "--out", tmp_path / "model", words=(words,))
    refused(capfd, tmp_path, "train", "--data", data.folder, "--model", "softmax", "--out",
            tmp_path / "model", "--model-file", MACHINE, words=("--model-file: not an option",))


MISTAKES = {
    "a wrong gradient": (("dz[:, None] * products", "2 * dz[:, None] * products"),
                         "the gradient of 'factors' is wrong"),
    "means": (("np.sum(weight * loss", "np.mean(weight * loss"), "never means"),
    "a name": (("dz = weight * dz", "dz = weight * dzz"),
               "accumulate failed: NameError: name 'dzz' is not defined (line 60)"),
    "a syntax error": (("def predict(self", "def predict((self"), "cannot be loaded: SyntaxError"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_file_is_one_line(tmp_path, capfd, mistake):
    change, words = MISTAKES[mistake]
    data = two_classes(tmp_path / "data")
    refused(capfd, tmp_path, "train", "--data", data.folder, "--model", own(tmp_path / "own", change),
            "--out", tmp_path / "model", words=("model own.py:make: ", words))
    command("train", "--data", data.folder, "--model", own(tmp_path / "own", change), "--out",
            tmp_path / "model", "-v")
    assert "Traceback" in capfd.readouterr().err


def test_the_check_can_be_left_out(tmp_path):
    data, model = two_classes(tmp_path / "data"), own(tmp_path / "own", MISTAKES["a wrong gradient"][0])
    assert run(data, tmp_path / "model", 1, model=model, skip_model_check=True)["iterations"] == 1
    # A training that goes on was looked at when it began.
    assert run(data, tmp_path / "model", 2, model=model)["iterations"] == 2


@pytest.mark.parametrize("strategy", ["synchronous", "local-sgd"])
def test_what_goes_wrong_later_is_one_line_too(tmp_path, capfd, strategy):
    data = two_classes(tmp_path / "data")
    late = own(tmp_path / "own", ("        z, products", "        assert len(y) < 9, 'too many'\n"
                                  "        z, products"))
    status = command("train", "--data", data.folder, "--model", late, "--out", tmp_path / "model",
                     "--strategy", strategy)
    err = capfd.readouterr().err
    assert status == 2
    assert_one_line(err, ("model own.py:make: accumulate failed: AssertionError: too many (line ",))
    nan = own(tmp_path / "own", ("        z, products", "        weight = weight if len(y) < 9 else "
                                 "np.full(len(y), np.nan)\n        z, products"))
    with pytest.raises(DivergenceError, match="iteration 1: diverged: the loss is nan"):
        run(data, tmp_path / "model", 2, model=nan, strategy=strategy)


def test_a_model_that_kills_its_process_leaves_the_driver_alive(tmp_path, capfd):
    data = two_classes(tmp_path / "data")
    model = own(tmp_path / "own", ("        z, products", "        import os; os.kill(os.getpid(), 9)\n"
                                   "        z, products"))
    assert command("train", "--data", data.folder, "--model", model, "--out", tmp_path / "model") == 1
    assert_one_line(capfd.readouterr().err, ("a task's process was killed by signal 9",))
