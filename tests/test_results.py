"""What ``train`` and ``evaluate`` print for a person: readable at 80 columns, and true."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from cli_tools import answer, command

from mr_gradient.commands.results import print_results
from mr_gradient.dataset.writer import write_arrays

pytestmark = pytest.mark.fast


def printed(result: dict, classes: tuple[str, ...] = ()) -> str:
    stream = io.StringIO()
    print_results(result, classes, stream)
    text = stream.getvalue()
    assert all(len(line) <= 80 for line in text.splitlines()), text
    return text


def rows(text: str) -> dict[str, list[str]]:
    """Words of each line of the table, by the first."""
    table = text.partition("confusion")[2].splitlines()[1:]
    return {line.split()[0]: line.split()[1:] for line in table}


@pytest.mark.parametrize("kind", ["two", "three", "values"])
def test_the_commands_show_what_json_says(tmp_path, capfd, kind):
    x = np.random.default_rng(7).normal(size=(60, 2))
    y = x[:, 0] * 2 - x[:, 1]
    names = {"two": ("no", "yes"), "three": ("0", "1", "2"), "values": ()}[kind]
    if names:
        y = np.digitize(y, [0] if kind == "two" else [-1, 1]).astype(np.uint8)
    data = write_arrays(str(tmp_path / "data"), x[20:], y[20:], classes=names, shards=3,
                        held_out=(x[:20], y[:20])).folder
    model = {"two": "logistic", "three": "softmax", "values": "linear"}[kind]
    train = ("train", "--data", data, "--model", model, "--iterations", 3, "--out", tmp_path / "m")
    capfd.readouterr()
    assert command(*train) == 0
    of_training = capfd.readouterr().out
    evaluate = ("evaluate", "--model", tmp_path / "m", "--data", data)
    assert command(*evaluate) == 0
    shown = capfd.readouterr().out
    found = answer(capfd, *evaluate)
    for name in ("loss", "objective", "examples", "accuracy", "log_loss", "rmse", "mae", "r2"):
        if name in found:
            pattern = rf"^{name.replace('_', ' ')} +{re.escape(f'{found[name]:.6g}')}$"
            assert re.search(pattern, shown, re.M), (name, shown)
    assert "held out" in of_training
    assert not re.search("^weight|auc.error", shown, re.M)
    if kind == "values":
        assert "confusion" not in shown + of_training
        return
    for text in (shown, of_training):
        table = rows(text)
        assert table["label"] == list(names)
        for name, counts in zip(names, found["confusion"]):
            assert table[name] == [str(int(count)) for count in counts]
    assert "\nconfusion of held out: rows are labels, columns what was predicted\n" in of_training
    if kind == "two":
        value, bound = map(float, re.search(r"^auc +(\S+) \+- (\S+)$", shown, re.M).groups())
        assert abs(value - found["auc"]) + found["auc_error"] <= bound + 1e-12
        assert f"auc {value:.{len(str(value)) - 2}f}" in of_training


@pytest.mark.parametrize(("auc", "error", "words"), [
    (0.902031, 0.00008, "0.9020 +- 0.0002"), (0.9, 0.0001, "0.9000 +- 0.0001"),
    (0.5, 0.25, "0.5000 +- 0.2500"), (0.9876543, 3e-6, "0.987654 +- 0.000004"),
    (1.0, 0.0, "1.000000 +- 0.000000")])
def test_the_area_with_its_bound(auc, error, words):
    assert printed({"auc": auc, "auc_error": error}) == f"auc          {words}\n"


def test_what_is_not_known_is_not_told():
    """As the area where a class is absent."""
    assert printed({"auc": None, "auc_error": None, "held_out": None}) == ""


def test_numbers_of_a_part_are_wrapped_between_pairs():
    part = {"examples": 10, "weight": 10.0, "loss": 0.123456789, "accuracy": 0.5, "log_loss": 1.25,
            "top_5_accuracy": 1.0, "auc": 0.9, "auc_error": 0.0001, "confusion": [[1, 0], [0, 1]]}
    shown = printed({"held_out": part, "model": "/m"}, ("a", "b"))
    assert shown.splitlines()[:3] == [
        "held out     examples 10  loss 0.123457  accuracy 0.5  log loss 1.25",
        "             top 5 accuracy 1  auc 0.9000 +- 0.0001",
        "model        /m"]
    assert part["confusion"] == [[1, 0], [0, 1]]
    assert "weight 4.5" in printed({"held_out": {"examples": 10, "weight": 4.5}})


@pytest.mark.parametrize(("names", "most", "expected"), [
    (["cat", "dog"], 5, True), ([f"class number {i}" for i in range(12)], 9999, True),
    ([str(i) for i in range(20)], 99, True), ([str(i) for i in range(20)], 10**6, False),
    ([str(i) for i in range(21)], 1, False), (["a\x1b[2J", "b" * 500], 1, True)])
def test_a_table_is_there_when_it_fits(names, most, expected):
    matrix = np.full((len(names), len(names)), float(most))
    shown = printed({"confusion": matrix.tolist()}, tuple(names))
    assert ("columns what was predicted" in shown) == expected
    assert "\x1b" not in shown
    if expected:
        assert len(shown.strip().splitlines()) == 2 + len(names)
        assert shown.count(str(most)) >= len(names) ** 2
    else:
        assert shown == f"\nconfusion: of {len(names)} classes, with --json\n"


def test_sums_of_weights_have_a_decimal():
    shown = printed({"confusion": [[1.25, 0], [3, 10.5]]}, ("a", "b"))
    assert rows(shown) == {"label": ["a", "b"], "a": ["1.2", "0"], "b": ["3", "10.5"]}


def test_many_classes_are_told_in_short(tmp_path, capfd):
    y = np.arange(60, dtype=np.uint8) % 30
    x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    write_arrays(str(tmp_path / "data"), x, y, classes=tuple(map(str, range(30))), held_out=(x, y))
    assert command("train", "--data", tmp_path / "data", "--model", "softmax", "--iterations", 1,
                   "--out", tmp_path / "model") == 0
    shown = capfd.readouterr().out
    assert "confusion of held out: of 30 classes, with --json" in shown
    assert "top 5 accuracy" in shown
