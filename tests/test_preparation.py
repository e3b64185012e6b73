"""Preparation as MapReduce: real data, the same bytes everywhere, bad rows, weights, groups."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from shared_data import shared_data

from mr_gradient.dataset.schema import Dataset
from mr_gradient.dataset.shards import open_shard
from mr_gradient.errors import DataError, UsageError
from mr_gradient.evaluation import evaluate
from mr_gradient.inspection import inspect
from mr_gradient.jobs.launch import job_arguments
from mr_gradient.preparation import PreparationConfig, prepare

ROWS = 2000


def make(inputs: list, out: Path, runner: str = "inline", cores: int = 2, **fields) -> Dataset:
    arguments = job_arguments(runner, ["--num-cores", str(cores)], False)
    return prepare(PreparationConfig([str(path) for path in inputs], str(out), arguments=arguments,
                                     **fields))[0]


def shards(data: Dataset, part: str = "train") -> list:
    return [open_shard(f"{data.folder}/{shard.path}") for shard in getattr(data, part)]


def table(folder: Path, rows: int = ROWS) -> Path:
    """Numbers, a category with missing values, a group, a weight and a label."""
    generator = np.random.default_rng(3)
    size = np.unique(generator.normal(5, 2, 2 * rows).round(6))
    size, city = generator.permutation(size)[:rows], generator.integers(0, 4, rows)
    lines = ["size,city,group,weight,label"]
    for i in range(rows):
        name = ["Oslo", "Rome", "Bern", ""][city[i]]
        lines.append(f"{size[i]:.6f},{name},g{i % 50},{1 + i % 3},{'yes' if size[i] > 5 else 'no'}")
    path = folder / "table.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    return table(tmp_path)


def test_numbers_are_standardized_and_words_become_columns(csv, tmp_path):
    data = make([csv], tmp_path / "data", spec={"weight": "weight", "group": "group"})
    assert data.schema.features == ("size", "city=Bern", "city=Oslo", "city=Rome", "city missing") or (
        data.schema.features[0] == "size")
    x = np.concatenate([shard.x for shard in shards(data)])
    assert x.shape[0] == ROWS
    np.testing.assert_allclose([x[:, 0].mean(), x[:, 0].std()], [0, 1], atol=1e-5)
    assert set(np.unique(x[:, 1:])) <= {0.0, 1.0}
    weight = np.concatenate([shard.weight for shard in shards(data)])
    assert sorted(set(weight.tolist())) == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("other", [
    {"cores": 1}, {"cores": 5}, {"runner": "local"}])
def test_the_same_bytes_whatever_ran(csv, tmp_path, other):
    fields = {"test_fraction": 0.2, "piece_bytes": 8000}
    one = make([csv], tmp_path / "one", **fields)
    two = make([csv], tmp_path / "two", **fields, **other)
    assert one.digest == two.digest
    assert (Path(one.folder) / "dataset.json").read_bytes() == (
        Path(two.folder) / "dataset.json").read_bytes()


def test_the_order_in_which_files_are_named_does_not_matter(csv, tmp_path):
    other = tmp_path / "another.csv"
    other.write_text(csv.read_text())
    one = make([csv, other], tmp_path / "one")
    assert one.digest == make([other, csv], tmp_path / "two").digest
    assert one.rows("train") == 2 * ROWS


def test_groups_stay_together_and_the_fraction_is_about_right(csv, tmp_path):
    rows = csv.read_text().splitlines()[1:]
    group_of = {float(row.split(",")[0]): row.split(",")[2] for row in rows}
    assert len(group_of) == ROWS  # the sizes tell the rows apart
    data = make([csv], tmp_path / "data", spec={
        "group": "group", "columns": {"size": "pass", "city": "drop", "weight": "drop"}},
        test_fraction=0.3, dtype="float64")
    groups = [{group_of[value] for shard in shards(data, part) for value in shard.x[:, 0].tolist()}
              for part in ("train", "held_out")]
    assert groups[0] & groups[1] == set()
    assert 0.15 * ROWS < data.rows("held_out") < 0.45 * ROWS


def test_classes_can_be_made_to_weigh_alike(csv, tmp_path):
    data = make([csv], tmp_path / "data", class_weight="balanced")
    y = np.concatenate([shard.y for shard in shards(data)])
    weight = np.concatenate([shard.weight for shard in shards(data)]).astype(float)
    assert weight[y == 0].sum() == pytest.approx(weight[y == 1].sum(), rel=1e-5)
    assert weight.sum() == pytest.approx(ROWS, rel=1e-5)


def test_bad_rows_are_left_out_counted_and_written_down(csv, tmp_path):
    lines = csv.read_text().splitlines()
    lines[7] = "many,Oslo,g1,1,yes"
    csv.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=r"table\.csv, line 8, column 'size'.*'many'"):
        make([csv], tmp_path / "data")
    assert not (tmp_path / "data").exists()
    lines[100] = "1,2"
    csv.write_text("\n".join(lines) + "\n")
    data = make([csv], tmp_path / "data", on_bad_row="skip", max_bad_rows=2)
    assert data.rows("train") == ROWS - 2
    rejects = [json.loads(line) for line in (tmp_path / "data/rejects.jsonl").read_text().splitlines()]
    assert [reject["line"] for reject in rejects] == [8, 101]
    with pytest.raises(DataError, match="--max-bad-rows 1"):
        make([csv], tmp_path / "less", on_bad_row="skip", max_bad_rows=1)


def test_a_truncated_gzip_is_named_and_leaves_nothing(csv, tmp_path):
    packed = gzip.compress(csv.read_bytes())
    (tmp_path / "cut.csv.gz").write_bytes(packed[:len(packed) // 2])
    with pytest.raises(DataError, match=r"cut\.csv\.gz"):
        make([tmp_path / "cut.csv.gz"], tmp_path / "data")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.csv.gz", "table.csv"]


def test_an_image_in_a_table_stays_bytes(tmp_path):
    digits = Path(__file__).resolve().parent.parent / "data/digits.csv"
    data = make([digits], tmp_path / "data")
    assert (data.schema.dtype, data.schema.scale) == ("uint8", 1 / 16)
    assert data.schema.features[0] == "pixel_0_0"
    assert sum(int(shard.x.sum()) for shard in shards(data)) == np.loadtxt(
        digits, delimiter=",", skiprows=1)[:, :64].sum()


def test_other_files_can_be_prepared_like_a_data_set(csv, tmp_path):
    """Rows that hold neither every class nor the extremes of what the plan was fitted to."""
    data = make([csv], tmp_path / "data")
    part = tmp_path / "part.csv"
    lines = csv.read_text().splitlines()
    part.write_text("\n".join([lines[0], *[row for row in lines[1:40] if row.endswith("yes")]]) + "\n")
    like = make([part], tmp_path / "like", like=data.folder)
    assert like.schema == data.schema
    assert like.options["plan"] == data.options["plan"]
    both = [{tuple(row) for shard in shards(each) for row in shard.x.tolist()} for each in (like, data)]
    assert both[0] <= both[1]
    part.write_text("size,label\n1,yes\n")
    with pytest.raises(UsageError, match=r"needs the columns .*'city'"):
        make([part], tmp_path / "other", like=data.folder)


def test_a_model_refuses_data_of_another_plan(csv, tmp_path):
    from trainings import run

    data = make([csv], tmp_path / "data")
    run(data, tmp_path / "model", 2, model="softmax")
    half = tmp_path / "half.csv"
    half.write_text("\n".join(csv.read_text().splitlines()[:900]) + "\n")
    own = make([half], tmp_path / "own")
    if own.schema == data.schema:
        with pytest.raises(UsageError, match="--like"):
            evaluate(str(tmp_path / "model"), own.folder)
    like = make([half], tmp_path / "like", like=str(tmp_path / "model"))
    assert evaluate(str(tmp_path / "model"), like.folder)["examples"] == 899


def test_inspect_tells_what_is_there(csv, tmp_path):
    data = make([csv], tmp_path / "data", test_fraction=0.25)
    found = inspect(data.folder)
    assert found["train"]["examples"] + found["held_out"]["examples"] == ROWS
    assert set(found["labels"]) == {"no", "yes"}
    assert {row["column"] for row in found["columns"]} >= {"size", "city"}


@pytest.fixture(scope="module")
def real(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_data(request, tmp_path_factory)


def test_a9a_is_prepared_counted_inspected_and_trained_on(real, tmp_path):
    from trainings import run

    data = make([real / "a9a.bz2"], tmp_path / "data", format_options={"width": 123})
    test = make([real / "a9a.t.bz2"], tmp_path / "test", like=data.folder)
    assert (data.schema.layout, data.schema.width) == ("csr", 123)
    assert (data.rows("train"), test.rows("train")) == (32_560, 16_281)
    found = inspect(data.folder)
    assert sum(found["labels"].values()) == 32_560
    result = run(data, tmp_path / "model", 30, model="logistic", learning_rate=1.0)
    assert result["accuracy"] > max(found["labels"].values()) / 32_560
    assert evaluate(str(tmp_path / "model"), test.folder)["examples"] == 16_281


def test_mnist_is_prepared_counted_inspected_and_trained_on(real, tmp_path):
    from trainings import run

    files = [real / "mnist" / f"train-{name}-ubyte.gz" for name in ("images-idx3", "labels-idx1")]
    data = make(files, tmp_path / "data", test_fraction=0.1)
    assert (data.schema.dtype, data.schema.scale, data.schema.width) == ("uint8", 1 / 255, 784)
    assert data.rows("train") + data.rows("held_out") == 60_000
    assert sum(inspect(data.folder)["labels"].values()) == data.rows("train")
    result = run(data, tmp_path / "model", 5, model="softmax", learning_rate=0.5)
    assert result["loss"] < np.log(10)


def test_paths_may_be_relative(csv, tmp_path, monkeypatch):
    """Tasks run in folders of their own."""
    monkeypatch.chdir(tmp_path)
    assert make(["table.csv"], Path("out")).rows("train") == ROWS


@pytest.mark.parametrize("role", ["target", "weight", "group"])
def test_a_column_that_is_not_there_is_named(csv, tmp_path, role):
    with pytest.raises(UsageError, match=rf"--{role} nothing: .*no such column; found size, city"):
        make([csv], tmp_path / "data", spec={role: "nothing"})
