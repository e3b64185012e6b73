"""The examples: each configuration trains what its comment says, on the real data."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from shared_data import shared_data

from mr_gradient.config import from_yaml
from mr_gradient.dataset.schema import Dataset
from mr_gradient.evaluation import evaluate
from mr_gradient.jobs.launch import job_arguments
from mr_gradient.preparation import prepare
from mr_gradient.preparation_config import PreparationConfig
from mr_gradient.training import train

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
#: Test accuracy that each must reach.
LEAST = {"a9a_logistic": 0.849, "mnist_softmax": 0.924, "mnist_mlp": 0.983, "mnist_lenet": 0.990}


@pytest.fixture(scope="module")
def prepared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Training and test part of both data sets, made by the commands in the examples."""
    real, folder = shared_data(request, tmp_path_factory), tmp_path_factory.mktemp("prepared")
    arguments = job_arguments("inline", [], False)

    def make(name: str, inputs: list[str], **fields: object) -> Dataset:
        return prepare(PreparationConfig([str(real / each) for each in inputs], str(folder / name),
                                         arguments=arguments, **fields)).dataset

    digits = {part: [f"mnist/{part}-{each}-ubyte.gz" for each in ("images-idx3", "labels-idx1")]
              for part in ("train", "t10k")}
    mnist = make("mnist", digits["train"], shards=2)
    a9a = make("a9a", ["a9a.bz2"], format_options={"width": 123})
    return {"mnist": (mnist.folder, make("mnist.t", digits["t10k"], like=mnist.folder).folder),
            "a9a": (a9a.folder, make("a9a.t", ["a9a.t.bz2"], like=a9a.folder).folder),
            # Made up data has the real one's layout, and nothing to learn.
            "real": real.name == "data"}


def run(name: str, prepared: dict, out: Path, **changes: object) -> tuple[dict, float]:
    """The result of a training, and its accuracy on the test part."""
    config = from_yaml(str(EXAMPLES / f"{name}.yaml"), {"out": str(out), **changes})
    data, test = prepared[config.data]
    result = train(dataclasses.replace(config, data=data))
    return result, evaluate(str(out), test)["accuracy"]


def test_every_configuration_is_tested():
    assert {path.stem for path in EXAMPLES.glob("*.yaml")} == set(LEAST)


@pytest.mark.parametrize("name", sorted(set(LEAST) - {"a9a_logistic"}))
def test_they_begin_to_learn(prepared, tmp_path, name):
    changes = {"iterations": 3} if name == "mnist_softmax" else {"iterations": 1}
    _, accuracy = run(name, prepared, tmp_path / "model", **changes)
    assert accuracy > (0.5 if prepared["real"] else 0)


def test_a9a(prepared, tmp_path):
    result, accuracy = run("a9a_logistic", prepared, tmp_path / "model")
    assert result["jobs"] <= 12
    assert accuracy >= (LEAST["a9a_logistic"] if prepared["real"] else 0)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", sorted(set(LEAST) - {"a9a_logistic"}))
def test_they_reach_what_they_say(prepared, tmp_path, name):
    _, accuracy = run(name, prepared, tmp_path / "model")
    assert accuracy >= (LEAST[name] if prepared["real"] else 0)
