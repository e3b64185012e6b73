"""The commands as a user sees them: what is on stdout, what is on stderr, what they take."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
from cli_tools import DIGITS, answer, command, listing, module, read_data, refused, small

from mr_gradient.blocks import BLOCK_BYTES
from mr_gradient.dataset.schema import open_dataset
from mr_gradient.jobs import broadcast
from mr_gradient.jobs.manifest import make_splits, to_lines
from mr_gradient.jobs.protocol import SUMMARY, RecordProtocol
from mr_gradient.models import Linear, to_json
from mr_gradient.models.base import layout

METRICS = {"loss", "objective", "examples", "iterations", "jobs", "seconds"}
LINE = re.compile(r"iteration (\d+)/(\d+)  loss [\d.e+-]+  accuracy [\d.e+-]+  "
                  r"held-out loss [\d.e+-]+  accuracy [\d.e+-]+  \d+\.\d{3} s")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for kind in ("two", "three", "values"):
        small(folder, kind)
    return folder


def train(data, out, kind: str = "three", model: str = "softmax", iterations: int = 2) -> list:
    return ["train", "--data", data / kind, "--model", model, "--out", out,
            "--iterations", iterations]


@pytest.mark.fast
def test_prepare_json(tmp_path, capfd):
    result = answer(capfd, "prepare", DIGITS, "--out", tmp_path / "d", "--test-fraction", "0.2")
    assert result.keys() == {"data", "examples", "held_out", "bad_rows", "features", "target", "kind",
                             "classes", "layout", "dtype", "shards"}
    assert result["data"] == str(tmp_path / "d")
    assert (result["target"], result["kind"], result["layout"], result["dtype"]) == (
        "label", "class", "dense", "uint8")
    assert (result["bad_rows"], result["features"]) == (0, 64)


@pytest.mark.fast
@pytest.mark.parametrize(("kind", "model", "metric"), [
    ("two", "logistic", "accuracy"), ("two", "softmax", "accuracy"), ("three", "mlp", "accuracy"),
    ("three", "softmax", "accuracy"), ("values", "linear", "rmse"), ("values", "mlp", "rmse")])
def test_train_and_evaluate_json(tmp_path, capfd, data, kind, model, metric):
    trained = answer(capfd, *train(data, tmp_path / "m", kind, model, 3), "--l2", "0.1")
    assert trained.keys() == METRICS | {metric, "held_out", "model"}
    # A look at the data, by which linear models are centred, three iterations, a last measurement.
    assert (trained["iterations"], trained["jobs"]) == (3, 4 if model == "mlp" else 5)
    assert trained["model"] == str(tmp_path / "m")
    assert trained["held_out"].keys() >= {"loss", metric, "examples"}
    for part, expected in (("train", trained), ("held-out", trained["held_out"])):
        measured = answer(capfd, "evaluate", "--model", tmp_path / "m", "--data", data / kind,
                          "--part", part)
        of_kind = {"r2", "mae"} if kind == "values" else {"confusion", "log_loss"} | (
            {"auc", "auc_error"} if kind == "two" else set())
        assert measured.keys() == METRICS | {metric, "part", "weight"} | of_kind
        assert measured["part"] == part
        assert (measured["iterations"], measured["jobs"]) == (3, 1)
        for name in ("loss", metric, "examples"):
            assert measured[name] == expected[name]
        assert all(math.isfinite(measured[name]) for name in METRICS | {metric})
    assert trained["objective"] > trained["loss"]
    assert answer(capfd, "evaluate", "--model", tmp_path / "m", "--data",
                  data / kind)["part"] == "held-out"


@pytest.mark.fast
def test_text_without_json(tmp_path, capfd, data):
    assert command(*train(data, tmp_path / "m")) == 0
    out, err = capfd.readouterr()
    names = {line.split("  ")[0].strip() for line in out.splitlines()}
    assert names >= {"loss", "objective", "accuracy", "examples", "iterations", "jobs", "seconds"}
    with pytest.raises(json.JSONDecodeError):
        json.loads(out)
    assert len(err.splitlines()) == 2


@pytest.mark.fast
@pytest.mark.parametrize("done", [0, 2])
def test_a_plain_line_an_iteration(tmp_path, capfd, data, done):
    if done:
        answer(capfd, *train(data, tmp_path / "m", iterations=done))
    capfd.readouterr()
    assert command(*train(data, tmp_path / "m", iterations=5)) == 0
    lines = capfd.readouterr().err.splitlines()
    if done:
        assert lines.pop(0) == f"resuming after iteration {done}"
    matches = [LINE.fullmatch(line) for line in lines]
    assert all(matches), lines
    assert [match.groups() for match in matches] == [(str(i), "5") for i in range(done + 1, 6)]


@pytest.mark.fast
def test_training_that_is_done_says_so_and_runs_no_job(tmp_path, capfd, data):
    first = answer(capfd, *train(data, tmp_path / "m"))
    again = answer(capfd, *train(data, tmp_path / "m"))
    assert again.pop("jobs") == 0
    for each in (first, again):
        each.pop("seconds")
    first.pop("jobs")
    assert again == first


@pytest.mark.fast
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_log_of_mrjob_only_when_asked(tmp_path, capfd, data, options):
    assert command(*train(data, tmp_path / "a"), "-v", *options) == 0
    loud = capfd.readouterr()
    assert "Running step 1 of 1" in loud.err
    assert "Running step" not in loud.out
    assert command(*train(data, tmp_path / "b"), *options) == 0
    quiet = capfd.readouterr()
    assert all(LINE.fullmatch(line) for line in quiet.err.splitlines()), quiet.err
    if options:
        json.loads(loud.out)


@pytest.mark.fast
@pytest.mark.parametrize("options", [
    ["-D", "mapreduce.job.maps=3"], ["--num-cores", "1"], ["--num-cores=3"], ["--no-conf"],
    ["-r", "inline"], ["--runner=inline"]], ids=" ".join)
def test_options_of_mrjob_change_no_bit(tmp_path, capfd, data, options):
    plain = answer(capfd, *train(data, tmp_path / "a"))
    other = answer(capfd, *train(data, tmp_path / "b"), *options)
    assert other["loss"] == plain["loss"]
    assert ((tmp_path / "a" / "model.safetensors").read_bytes()
            == (tmp_path / "b" / "model.safetensors").read_bytes())
    assert answer(capfd, "evaluate", "--model", tmp_path / "b", "--data", data / "three",
                  "--part", "train", *options)["loss"] == plain["loss"]


@pytest.mark.fast
def test_configuration_file_of_mrjob_is_read(tmp_path, capfd, data):
    conf = tmp_path / "my mrjob.conf"
    conf.write_text('{"runners": {"inline": {"num_cores": 1, "no_such_option": 1}}}',
                    encoding="utf-8")
    assert command(*train(data, tmp_path / "m"), "-c", conf) == 0
    assert "no_such_option" not in capfd.readouterr().err
    assert command(*train(data, tmp_path / "n"), "-v", "-c", conf) == 0
    assert "no_such_option" in capfd.readouterr().err  # mrjob warns of it, so it read the file


def test_local_runner_gives_the_same_bits(tmp_path, capfd, data):
    for runner in ("inline", "local"):
        answer(capfd, *train(data, tmp_path / runner), "-r", runner)
    assert ((tmp_path / "inline" / "model.safetensors").read_bytes()
            == (tmp_path / "local" / "model.safetensors").read_bytes())


@pytest.mark.fast
@pytest.mark.parametrize("argv", [["--help"], ["prepare", "--help"], ["train", "--help"],
                                  ["evaluate", "--help"], ["--version"]], ids=" ".join)
def test_help_fits_the_terminal(capfd, monkeypatch, argv):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as stop:
        command(*argv)
    out, err = capfd.readouterr()
    assert (stop.value.code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80


def test_gradient_job_alone(tmp_path, data):
    """``python -m ... -r inline --params FILE MANIFEST``: records on stdout, and the right sums."""
    model = Linear(features=2, outputs=1, loss="squared")
    parameters = {"weight": np.array([[0.5, -1.0]]), "bias": np.array([0.25])}
    params, manifest = tmp_path / "params.safetensors", tmp_path / "manifest.txt"
    broadcast.write(str(params), broadcast.Settings(to_json(model), 2, 0, "float64", 64), [parameters])
    manifest.write_bytes(to_lines(make_splits(open_dataset(str(data / "values")))))
    (tmp_path / "temporary").mkdir()
    done = module("mr_gradient.jobs.gradient_job", "-r", "inline", "--params", params, manifest,
                  temporary=tmp_path / "temporary")
    assert done.returncode == 0, done.stderr
    assert listing(tmp_path / "temporary") == []
    records = [RecordProtocol().read(line.encode()) for line in done.stdout.splitlines()]
    summaries = [value for key, value in records if key == SUMMARY]
    blocks = {key: value for key, value in records if key != SUMMARY}
    described = json.loads((data / "values" / "dataset.json").read_text(encoding="utf-8"))
    assert len(described["train"]) == 3
    assert sorted(s["split"] for s in summaries) == list(range(3 + len(described["held_out"])))
    x, y = (array.astype(float) for array in read_data(data / "values", "train"))
    error = x @ [0.5, -1.0] + 0.25 - y
    gradient = np.zeros(3)
    for number, block in enumerate(layout(model).blocks(BLOCK_BYTES, 8)):
        gradient[block.start:block.stop] = blocks[number].values
    np.testing.assert_allclose(gradient, [*(error @ x), error.sum()], rtol=1e-12)
    of_train = [s["sums"][0] for s in summaries if s["part"] == "train"]
    assert sum(s["examples"] for s in of_train) == len(y)
    assert sum(s["loss"] for s in of_train) == pytest.approx((error ** 2).sum() / 2, rel=1e-12)


def test_inspect_shows_what_is_there(data, capfd):
    found = answer(capfd, "inspect", data / "two")
    assert found["kind"] == "class"
    assert sum(found["labels"].values()) == found["train"]["examples"]
    assert command("inspect", data / "two") == 0
    out, err = capfd.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert lines[0].split() == ["data", str(data / "two")]
    for name, count in found["labels"].items():
        assert any(line.split()[:2] == [name, str(count)] for line in lines)
    assert command("inspect", data / "values") == 0
    assert "labels     minimum" in capfd.readouterr().out


def test_inspect_of_nothing_is_one_line(tmp_path, capfd):
    refused(capfd, tmp_path, "inspect", tmp_path / "nothing", words=["nothing", "no such folder"])
    refused(capfd, tmp_path, "inspect", tmp_path, "--jsn", words=["--jsn", "--json"])


@pytest.mark.fast
def test_what_prepare_tells_a_person(tmp_path, capfd):
    """A table of columns and where bad rows are on stderr, results in short on stdout."""
    rows = "".join(f"{i % 7}.5,c{i:02d}\n" for i in range(60))
    (tmp_path / "in.csv").write_text(f"a,label\n{rows}inf,c01\n", encoding="utf-8")
    argv = ["prepare", tmp_path / "in.csv", "--out", tmp_path / "d"]
    assert command(*argv, "--on-bad-row", "skip", "--max-bad-rows", "3") == 0
    out, err = capfd.readouterr()
    assert err.splitlines()[0].split() == [
        "column", "kind", "missing", "range", "transforms", "features", "why"]
    assert err.splitlines()[-1] == f"bad rows are listed in {tmp_path / 'd' / 'rejects.jsonl'}"
    shown = dict(line.split(None, 1) for line in out.splitlines())
    assert shown["classes"].count("'c") == 20
    assert "60 in all" in shown["classes"]
    # Of other input read like this one there is no table: it is of the first.
    (tmp_path / "in.csv").write_text(f"a,label\n{rows}", encoding="utf-8")
    assert command("prepare", tmp_path / "in.csv", "--like", tmp_path / "d", "--out",
                   tmp_path / "e") == 0
    assert capfd.readouterr().err == ""
