"""The configuration: files, options over them, what is refused, and that what is saved reproduces."""

from __future__ import annotations

import json

import pytest
import yaml
from cli_tools import answer, command, refused
from trainings import EVERY, bits, class_data, count_data, run

from mr_gradient import model_folder
from mr_gradient.config import TrainConfig, from_yaml
from mr_gradient.errors import UsageError
from mr_gradient.training import train

pytestmark = pytest.mark.fast


@pytest.fixture(scope="module")
def data_sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return class_data(folder / "classes", weighted=True), count_data(folder / "counts")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """``three``: a small data set of three classes."""
    folder = tmp_path_factory.mktemp("place")
    class_data(folder / "three")
    return folder


def written(tmp_path, text: str) -> str:
    path = tmp_path / "train.yaml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("recipe", EVERY)
def test_the_saved_configuration_makes_the_same_model_again(tmp_path, data_sets, recipe):
    data = data_sets[EVERY[recipe]["model"] == "poisson"]
    run(data, tmp_path / "model", 4, **EVERY[recipe])
    config = from_yaml(str(tmp_path / "model/config.yaml"), {"out": str(tmp_path / "again")})
    train(config)
    assert bits(tmp_path / "again") == bits(tmp_path / "model")
    saved = model_folder.load(str(tmp_path / "model")).summary["configuration"]
    assert saved == yaml.safe_load((tmp_path / "model/config.yaml").read_text())
    assert "auto" not in saved.values()
    # It is the same training: one may go on with it.
    assert train(from_yaml(str(tmp_path / "model/config.yaml"), {
        "out": str(tmp_path / "model"), "iterations": 5}))["iterations"] in (4, 5)


def test_the_command_reproduces_from_another_folder(tmp_path, place, capfd, monkeypatch):
    (tmp_path / "layers.yaml").write_text("[{dense: 5}, tanh, {dense: 3}]")
    monkeypatch.chdir(place)
    first = answer(capfd, "train", "--data", "three", "--model", "network", "--layers",
                   tmp_path / "layers.yaml", "--iterations", 3, "--out", tmp_path / "model")
    (tmp_path / "layers.yaml").unlink()
    monkeypatch.chdir(tmp_path)
    again = answer(capfd, "train", "--config", "model/config.yaml", "--out", "again")
    assert {**again, "seconds": 0, "model": ""} == {**first, "seconds": 0, "model": ""}
    assert bits(tmp_path / "again") == bits(tmp_path / "model")


def test_options_of_the_command_win_over_the_file(tmp_path, place, capfd):
    config = written(tmp_path, f"data: {place / 'three'}\nmodel: softmax\nl2: 1e-2\niterations: 9\n"
                               f"learning-rate: 0.5\nout: {tmp_path / 'nowhere'}\n")
    answer(capfd, "train", "--config", config, "--iterations", 2, "--out", tmp_path / "model")
    saved = json.loads((tmp_path / "model/model.json").read_text())["summary"]
    assert saved["iterations"] == 2
    assert saved["l2"] == 0.01
    assert saved["configuration"]["learning_rate"] == 0.5
    assert not (tmp_path / "nowhere").exists()


def test_layers_and_sizes_in_the_file(tmp_path):
    config = from_yaml(written(tmp_path, "layers:\n- {dense: 4}\n- relu\n- residual: [{dense: 4}]\n"
                                         "input-shape: 1, 8, 8\nhidden: [3, 4]\n"), {})
    assert config.layers == [{"dense": 4}, "relu", {"residual": [{"dense": 4}]}]
    assert (config.input_shape, config.hidden) == ((1, 8, 8), (3, 4))


@pytest.mark.parametrize(("text", "words"), [
    ("learning-rat: 1", r"no such option 'learning-rat'; did you mean 'learning-rate'\?"),
    ("batchsize: 1", r"no such option 'batchsize'; did you mean 'batch-size'\?"),
    ("xyzzy: 1", "no such option 'xyzzy'; see 'mr-gradient train --help'"),
    ("1: 2", "no such option '1'"),
    ("[data, model]", "must be a mapping from options to values"),
    ("iterations: many", "iterations: must be of type int, found 'many'"),
    ("iterations: 1.5", "iterations: must be of type int, found 1.5"),
    ("iterations: true", "iterations: must be of type int, found True"),
    ("l2:", "l2: must be of type float, found None"),
    ("l2: true", "l2: must be of type float, found True"),
    ("model: 5", "model: must be of type str, found 5"),
    ("restart: yes please", "restart: must be of type bool, found 'yes please'"),
    ("hidden: [5, 2.5]", r"hidden: must be of type list of whole numbers, found \[5, 2.5\]"),
    ("hidden: [true]", "hidden: must be of type list of whole numbers"),
    ("runner-options: [--num-cores, 2]", "runner-options: must be of type list of words"),
    ("data: [", "must be YAML"),
])
def test_what_a_file_may_not_say(tmp_path, text, words):
    with pytest.raises(UsageError, match=f"train.yaml: {words}"):
        from_yaml(written(tmp_path, text), {})


@pytest.mark.parametrize(("fields", "words"), [
    ({"model": ""}, "--model: needed, and not given"),
    ({"class_weight": "balansed"}, r"--class-weight balansed: must be .*did you mean balanced\?"),
    ({"strategy": "localsgd"}, r"--strategy localsgd: must be .*did you mean local-sgd\?"),
    ({"precondition": "scaled"}, r"--precondition scaled: .*did you mean scale\?"),
    ({"precision": "float16"}, "--precision float16: must be one of float32, float64"),
    ({"local_steps": 5}, "--local-steps 5: needs --strategy local-sgd, found synchronous"),
    ({"local_epochs": 5}, "--local-epochs 5: needs --strategy local-sgd, found synchronous"),
    ({"strategy": "local-sgd", "local_steps": 5, "local_epochs": 2}, "--local-epochs 2: cannot be"),
    ({"l2": float("nan")}, "--l2 nan: must be a finite number"),
    ({"patience": -1}, "--patience -1: must be at least 0"),
    ({"warm_start": "model"}, "--warm-start model: must be another folder than --out"),
])
def test_values_that_are_refused(fields, words):
    with pytest.raises(UsageError, match=words):
        TrainConfig(**{"data": "data", "model": "softmax", "out": "model", **fields}).check()


@pytest.mark.parametrize(("options", "words"), [
    (("--precondition", "center", "--optimizer", "newton"), "--precondition center: needs a linear"),
    (("--precondition", "scale", "--strategy", "local-sgd"), "--precondition scale: needs a linear"),
    (("--optimizer", "newton", "--batch-size", "5"), "--optimizer newton: looks at all examples"),
    (("--optimizer", "adam", "--l1", "1"), "--l1 1.0: needs --optimizer owlqn, found adam"),
    (("--optimizer", "newton", "--momentum", "0.5"), "--momentum 0.5: --optimizer newton has no such"),
])
def test_options_that_do_not_go_together(tmp_path, place, capfd, options, words):
    refused(capfd, tmp_path, "train", "--data", place / "three", "--model", "softmax", "--out",
            tmp_path / "model", *options, words=(words,))


def test_newton_of_too_many_parameters_is_refused(tmp_path):
    data = class_data(tmp_path / "data", rows=20, features=3000)
    with pytest.raises(UsageError, match="at most 8,192 parameters, found 9,003; use lbfgs"):
        run(data, tmp_path / "model", model="softmax", optimizer="newton")


def test_help_names_every_option(capfd):
    with pytest.raises(SystemExit):
        command("train", "--help")
    shown = capfd.readouterr().out
    for name in TrainConfig.__dataclass_fields__:
        if name != "runner_options":
            assert f"--{name.replace('_', '-')}" in shown
