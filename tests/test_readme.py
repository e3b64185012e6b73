"""README.md tells the truth: its commands run, and print what it says they print.

In the output, ``...`` stands for anything and a number for any number that is equal to two digits,
or, where it is a time, for any number at all.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cli_tools
import pytest
import yaml

from mr_gradient import models
from mr_gradient.commands import prepare
from mr_gradient.dataset.transforms.spec import Spec
from mr_gradient.models.layers import LAYERS

ROOT = Path(__file__).resolve().parent.parent
BLOCKS = re.findall(r"```console\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
#: Run by tests of their own: test_digits.py, and whoever runs the tests.
ELSEWHERE = ("./run_local.sh", "tests/run.sh")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")
_TIME = re.compile(r"(\d+(?:\.\d+)? s$|(?<=seconds)\W+\d+\.\d+)")


def sessions() -> list[list[tuple[str, list[str]]]]:
    """The blocks as lists of (command, lines of output)."""
    found = []
    for block in BLOCKS:
        steps: list[tuple[str, list[str]]] = []
        for line in block.splitlines():
            if line.startswith("$ "):
                steps.append((line[2:], []))
            else:
                steps[-1][1].append(line)
        if steps[0][0] not in ELSEWHERE:
            found.append(steps)
    return found


def alike(expected: str, found: str) -> bool:
    expected, found = (_TIME.sub(" TIME", line) for line in (expected, found))
    if _NUMBER.sub("#", expected) != _NUMBER.sub("#", found):
        pattern = ".*".join(re.escape(part) for part in expected.split("..."))
        return re.fullmatch(pattern, found) is not None
    return all(float(a) == pytest.approx(float(b), rel=0.01)
               for a, b in zip(_NUMBER.findall(expected), _NUMBER.findall(found)))


def test_the_readme_has_commands():
    assert [words[1] for steps in sessions() for step in steps
            if (words := step[0].split())[0] == "mr-gradient"] == ["prepare", "train", "evaluate",
                                                                    "prepare"]
    assert "TODO" not in (ROOT / "README.md").read_text()
    assert {block.splitlines()[0][2:] for block in BLOCKS} >= set(ELSEWHERE)


def test_the_transforms_are_taken_and_the_help_shows_the_same():
    text = yaml_blocks()[0]
    spec = Spec.from_dict(yaml.safe_load(text))
    assert spec.columns.keys() == {"age", "city", "url", "comment", "id"}
    in_help = prepare._EXAMPLES.partition("left out:\n")[2]
    words = re.sub(r"\([^)]*\)", "", in_help)  # remarks
    assert Spec.from_dict(yaml.safe_load(words)) == replace(
        spec, columns={name: steps for name, steps in spec.columns.items() if name != "id"})


def yaml_blocks() -> list[str]:
    return re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.S)


def test_the_layers_make_a_network():
    """Of ten classes, from images of one channel."""
    layers = yaml_blocks()[1]
    model = models.create("network", 64, "class", 10, {"layers": yaml.safe_load(layers),
                                                        "input_shape": [1, 8, 8]})
    assert len(model.layers) == 7
    assert model.tensors()["0.weight"].shape == (16, 1, 3, 3)
    named = {re.match(r"\w+", line[2:])[0] for line in layers.splitlines()}
    also = re.search(r"^Also (.*?);", (ROOT / "README.md").read_text(), re.M)[1]
    assert named | set(re.findall(r"`(\w+)`", also)) == set(LAYERS)


def test_the_message_is_that_of_the_command(tmp_path, capfd):
    rows = "".join(f"{20 + i % 50},{'no' if i % 3 else 'yes'}\n" for i in range(407))
    (tmp_path / "clients.csv").write_text(f"age,bought\n{rows}old,no\n")
    assert cli_tools.command("prepare", tmp_path / "clients.csv", "--target", "bought", "--out",
                             tmp_path / "d") == 2
    text, = re.findall(r"```\n(mr-gradient: .*?)```", (ROOT / "README.md").read_text(), re.S)
    assert alike(" ".join(text.split()), capfd.readouterr().err.strip())


@pytest.mark.parametrize("steps", sessions())
def test_commands_print_what_the_readme_says(steps, tmp_path):
    program = tmp_path / "bin/mr-gradient"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nexec '{sys.executable}' -m mr_gradient \"$@\"\n")
    program.chmod(0o755)
    shutil.copytree(ROOT / "data", tmp_path / "data")
    environment = {**os.environ, "PYTHONPATH": str(ROOT),
                   "PATH": f"{program.parent}:{os.environ['PATH']}"}
    for command, expected in steps:
        result = subprocess.run(["sh", "-c", command], cwd=tmp_path, env=environment, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        assert result.returncode == 0, result.stdout
        # Progress comes on stderr as it happens, results on stdout at the end.
        found = sorted(result.stdout.splitlines(), key=lambda line: not line.startswith("iteration "))
        at = 0
        for number, line in enumerate(expected):
            if line == "...":
                follows = expected[number + 1]
                while not alike(follows, found[at]):
                    at += 1
            else:
                assert alike(line, found[at]), f"{command}: expected {line!r}, found {found[at]!r}"
                at += 1
        assert at == len(found), f"{command}: the README lacks {found[at:]}"


def test_the_comparison_can_fail():
    assert alike("loss 0.250  0.01 s", "loss 0.2501  9.123 s")
    assert alike("loss 0.250", "loss 0.2501")
    assert not alike("loss 0.250", "loss 0.300")
    assert not alike("accuracy 0.9", "loss 0.9")
    assert alike("model .../x", "model /tmp/x")
