"""Bad input and bad options: status 2, one line that names the thing, nothing left behind."""

from __future__ import annotations

import json

import pytest
from cli_tools import answer, assert_one_line, command, listing, refused, small

pytestmark = pytest.mark.fast

OK = b"a,b,label\n1,2,x\n3,4,y\n"
#: A column of numbers stays one when a few values are something else.
MANY = "a,b,label\n" + "".join(f"{i},{i % 7},{'xy'[i % 2]}\n" for i in range(40))
FAIL = ["--on-missing", "fail"]


def among(line: int, row: str) -> bytes:
    """``MANY`` with one line replaced."""
    lines = MANY.splitlines(keepends=True)
    lines[line - 1] = row + "\n"
    return "".join(lines).encode()



#: name: (content or None for no file, options, words of the message)
INPUTS = {
    "no such file": (None, [], ["no such file"]),
    "empty": (b"", [], ["in.csv", "rows", "empty"]),
    "only blank lines": (b"\n\n\n", [], ["in.csv", "rows", "empty"]),
    "header only": (b"a,b,label\n", [], ["in.csv", "rows"]),
    "no header": (b"1,2,0\n3,4,1\n", [], ["in.csv", "--target", "c0, c1, c2", "--header yes"]),
    "no header, and said so": (b"1,2,0\n3,4,1\n", ["--header", "no"], ["--target", "c0, c1, c2"]),
    "no usual target": (b"a,b,c\n1,2,3\n", [], ["--target", "a, b, c"]),
    "unknown target": (OK, ["--target", "labl"], ["--target labl", "no such column", "'label'?"]),
    "target alone": (b"label\n1\n2\n", [], ["feature"]),
    "text": (among(9, "3,five,y"), [], ["in.csv, line 9", "'b'", "number", "'five'", "--on-bad-row"]),
    "text, and said to be numbers": (b"a,b,label\n1,2,x\n3,five,y\n", ["--kind", "b=number"],
                                     ["in.csv, line 3", "'b'", "number", "'five'"]),
    "text after blank lines": (among(9, "\n3,five,y"), [], ["line 10", "'b'", "'five'"]),
    "digit separators": (among(9, "3,1_000,y"), [], ["line 9", "'b'", "number", "'1_000'"]),
    "NaN": (b"a,b,label\n1,2,x\n3,nan,y\n", FAIL, ["in.csv, line 3", "'b'", "missing"]),
    "infinity": (b"a,b,label\n1,2,x\n-inf,4,y\n", [], ["line 3", "'a'", "finite", "-inf"]),
    "beyond float64": (b"a,b,label\n1,2,x\n1e999,4,y\n", [], ["line 3", "'a'", "finite"]),
    "missing value": (b"a,b,label\n1,2,x\n3,,y\n", FAIL, ["in.csv, line 3", "'b'", "missing"]),
    "missing word": (b"a,b,label\n1,p,x\n3,,y\n", FAIL, ["in.csv, line 3", "'b'", "missing"]),
    "spaces for a value": (b"a,b,label\n1,2,x\n3,  ,y\n", FAIL, ["line 3", "'b'", "missing"]),
    "text that stands for a missing value": (b"a,b,label\n1,2,x\n3,-,y\n", [*FAIL, "--missing=-"],
                                             ["line 3", "'b'", "missing"]),
    "missing label": (b"a,b,label\n1,2,x\n3,4,\n", [], ["line 3", "'label'", "missing"]),
    "NaN among numeric labels": (b"a,label\n1,0\n2,1\n3,nan\n", [], ["line 4", "'label'", "missing"]),
    "NaN for a value": (b"a,label\n1,0\n2,nan\n", ["--target-type", "value"],
                        ["line 3", "'label'", "missing"]),
    "infinity for a value": (b"a,label\n1,0.5\n2,inf\n", ["--target-type", "value"],
                             ["line 3", "'inf'"]),
    "text for a value": (OK, ["--target-type", "value"], ["'label'", "line 2", "'x'"]),
    "text among numbers for a value": (
        among(9, "3,4,many").replace(b",x", b",0.5").replace(b",y", b",1"), [],
        ["in.csv, line 9", "'label'", "number", "'many'"]),
    "short row": (b"a,b,label\n1,2,x\n3,4\n", [], ["line 3", "3 values, has 2", "'3,4'"]),
    "long row": (b"a,b,label\n1,2,x,9\n", [], ["line 2", "3 values, has 4", "'1,2,x,9'"]),
    "same name twice": (b"a,a,label\n1,2,x\n", [], ["line 1", "'a'", "twice"]),
    "same name but for spaces": (b"a, a,label\n1,2,x\n", [], ["line 1", "'a'", "twice"]),
    "Latin-1": (b"a,b,label\n1,2,caf\xe9\n", [], ["in.csv, line 2", "UTF-8", "0xe9"]),
    "UTF-16": ("a,b,label\n1,2,x\n".encode("utf-16"), [], ["UTF-8"]),
    "open quote": (b'a,b,label\n1,"2,x\n3,4,y\n', [], ["in.csv, line 2", "quote", "--multiline"]),
    "one class": (b"a,b,label\n1,2,x\n3,4,x\n", [], ["in.csv", "'label'", "two classes", "'x'"]),
    "one row": (b"a,b,label\n1,2,x\n", [], ["in.csv", "'label'", "two classes", "'x'"]),
    "no byte": (b"a,label\n-1,x\n3,y\n", ["--dtype", "uint8"], ["--dtype uint8", "0 to 255"]),
    "beyond float32": (b"a,label\n1,x\n1e39,x\n3,y\n", ["--numbers", "pass"],
                       ["in.csv, line 3", "'a'", "float32", "--dtype float64"]),
    "beyond float16": (b"a,label\n70000,x\n3,y\n", ["--dtype", "float16", "--numbers", "pass"],
                       ["in.csv, line 2", "'a'", "float16"]),
    "value beyond float32": (b"a,label\n0.5,1e39\n3,2.5\n", [],
                             ["in.csv, line 2", "float32", "'label'", "1e+39"]),
    "no rows to train": (OK, ["--test-fraction", "0.9999999"], ["--test-fraction", "2 rows"]),
}


@pytest.mark.parametrize(("content", "options", "words"), INPUTS.values(), ids=INPUTS)
def test_prepare_refuses(tmp_path, capfd, content, options, words):
    if content is not None:
        (tmp_path / "in.csv").write_bytes(content)
    refused(capfd, tmp_path, "prepare", tmp_path / "in.csv", "--out", tmp_path / "new", *options,
            words=words)


@pytest.mark.parametrize(("name", "missing", "shown"), [
    ("NaN", 1, "impute mean, standardize"), ("missing value", 1, "impute mean, standardize"),
    ("spaces for a value", 1, "impute mean, standardize"), ("missing word", 1, "one_hot"),
    ("text that stands for a missing value", 0, "one_hot"),
    ("text, and said to be numbers", 0, "one_hot")])
def test_what_is_taken_unless_told_otherwise(tmp_path, capfd, name, missing, shown):
    """The same files without the options: what becomes of their columns is said in a table."""
    (tmp_path / "in.csv").write_bytes(INPUTS[name][0])
    assert command("prepare", tmp_path / "in.csv", "--out", tmp_path / "new") == 0
    table, = [line for line in capfd.readouterr().err.splitlines() if line.startswith("b ")]
    column, = [row for row in answer(capfd, "inspect", tmp_path / "new")["columns"]
               if row["column"] == "b"]
    assert (column["missing"], column["transforms"]) == (missing, shown)
    assert shown.split(",")[0] in table


@pytest.mark.parametrize("name", ["infinity", "one class", "header only", "NaN"])
def test_prepare_leaves_no_parent_folder(tmp_path, capfd, name):
    content, options, words = INPUTS[name]
    (tmp_path / "in.csv").write_bytes(content)
    refused(capfd, tmp_path, "prepare", tmp_path / "in.csv", "--out", tmp_path / "x" / "y" / "new",
            *options, words=words)


@pytest.mark.parametrize(("second", "words"), [
    (None, ["b.csv", "no such file"]),
    (b"", ["b.csv", "rows", "empty"]),
    (b"b,a,label\n1,2,x\n", ["b.csv", "header of", "a.csv"]),
    (b"a,b,c,label\n1,2,3,x\n", ["b.csv", "header of", "a.csv"]),
    (MANY.replace("7,0,", "7,oops,").encode(), ["b.csv", "line 9", "'b'", "'oops'"]),
], ids=["absent", "empty", "other order", "other columns", "bad value"])
def test_second_file_is_named(tmp_path, capfd, second, words):
    (tmp_path / "a.csv").write_bytes(OK)
    if second is not None:
        (tmp_path / "b.csv").write_bytes(second)
    refused(capfd, tmp_path, "prepare", tmp_path / "a.csv", tmp_path / "b.csv",
            "--out", tmp_path / "new", words=words)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for kind in ("two", "three", "values"):
        small(folder, kind)
    return folder


def fill(tmp_path, kind: str) -> None:
    """Make ``tmp_path/new`` something that no command may write to."""
    if kind == "file":
        (tmp_path / "new").write_text("mine", encoding="utf-8")
    elif kind == "other":
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "mine.txt").write_text("mine", encoding="utf-8")


@pytest.mark.parametrize(("kind", "out", "words"), [
    ("file", "new", ["--out", "new", "folder", "file"]),
    ("file", "new/below", ["--out", "new"]),
    ("other", "new", ["--out", "new", "'mine.txt'", "another folder"]),
])
@pytest.mark.parametrize("replace", [False, True])
def test_out_that_is_something_else(tmp_path, capfd, data, kind, out, words, replace):
    fill(tmp_path, kind)
    (tmp_path / "in.csv").write_bytes(OK)
    refused(capfd, tmp_path, "prepare", tmp_path / "in.csv", "--out", tmp_path / out,
            *["--overwrite"] * replace, words=words)
    refused(capfd, tmp_path, "train", "--data", data / "three", "--model", "softmax",
            "--out", tmp_path / out, "--iterations", "1", *["--restart"] * replace, words=words)


def test_prepare_does_not_replace_unasked(tmp_path, capfd):
    (tmp_path / "in.csv").write_bytes(OK)
    answer(capfd, "prepare", tmp_path / "in.csv", "--out", tmp_path / "new")
    refused(capfd, tmp_path, "prepare", tmp_path / "in.csv", "--out", tmp_path / "new",
            words=["--out", "already", "--overwrite"])


PREPARE_NUMBERS = [("--test-fraction", value) for value in ("-0.1", "1", "2", "nan", "x")] + [
    ("--shards", value) for value in ("-1", "1.5", "x")] + [
    ("--seed", value) for value in ("-1", "1.5", "x")]
TRAIN_NUMBERS = [("--learning-rate", value) for value in ("0", "-1", "nan", "inf", "x")] + [
    ("--momentum", value) for value in ("1", "-0.1", "nan", "x")] + [
    ("--l2", value) for value in ("-1", "nan", "inf", "x")] + [
    ("--iterations", value) for value in ("0", "-1", "1.5", "x")] + [
    ("--seed", value) for value in ("-1", "1.5", "x")] + [
    ("--rows-per-split", value) for value in ("-1", "1.5", "x")] + [
    ("--hidden", value) for value in ("0", "8,0", "-1", "8,x", "8,,8", "")] + [
    ("--num-cores", value) for value in ("-1", "1.5", "x")]


@pytest.mark.parametrize(("option", "value"), PREPARE_NUMBERS)
def test_prepare_numbers(tmp_path, capfd, option, value):
    (tmp_path / "in.csv").write_bytes(OK)
    refused(capfd, tmp_path, "prepare", tmp_path / "in.csv", "--out", tmp_path / "new",
            f"{option}={value}", words=(option, value))


@pytest.mark.parametrize(("option", "value"), TRAIN_NUMBERS)
def test_train_numbers(tmp_path, capfd, data, option, value):
    refused(capfd, tmp_path, "train", "--data", data / "three", "--model", "mlp", "--iterations",
            "1", "--out", tmp_path / "new", f"{option}={value}",
            words=(option, value.split(",")[-1]))


@pytest.mark.parametrize(("options", "words"), [
    (["--model", "softmx"], ["--model softmx", "softmax"]),
    (["--optimizer", "momentun"], ["--optimizer momentun", "momentum"]),
    (["-r", "inlin"], ["-r inlin", "inline"]),
    (["-r", "hadop"], ["-r hadop", "inline", "local"]),
    (["--precision", "float16"], ["--precision", "float16", "float32", "float64"]),
    (["--learning-rat", "1"], ["--learning-rat:", "--learning-rate?"]),
    (["--num-cors", "1"], ["--num-cors:", "--num-cores?"]),
    (["stray"], ["stray"]),
    (["-D", "no-value"], ["-D", "no-value", "KEY=VALUE"]),
    (["-c", "absent.conf"], ["absent.conf"]),
    (["--params", "x"], ["--params"]),
    (["--output-dir", "x"], ["--output-dir"]),
    (["--files", "absent.txt"], ["absent.txt"]),
], ids=" ".join)
def test_train_names(tmp_path, capfd, data, options, words):
    refused(capfd, tmp_path, "train", "--data", data / "three", "--model", "softmax",
            "--iterations", "1", "--out", tmp_path / "new", *options, words=words)


def test_configuration_file_that_is_none(tmp_path, capfd, data):
    (tmp_path / "mrjob.conf").write_text("{bad", encoding="utf-8")
    refused(capfd, tmp_path, "train", "--data", data / "three", "--model", "softmax", "--out",
            tmp_path / "new", "-c", tmp_path / "mrjob.conf", words=["mrjob.conf"])


@pytest.mark.parametrize(("argv", "words"), [
    (["prepar"], ["prepar", "prepare"]),
    (["--jsn"], ["--jsn"]),
    (["prepare", "x.csv"], ["--out"]),
    (["prepare", "--out", "new"], ["INPUT"]),
    (["prepare", "x.csv", "--out", "new", "--overwrit"], ["--overwrit:", "--overwrite?"]),
    (["prepare", "x.csv", "--out", "new", "--dtype", "int8"], ["--dtype", "int8", "uint8"]),
    (["prepare", "x.csv", "--out", "new", "--target-type", "clas"], ["--target-type", "class"]),
    (["train", "--out", "new"], ["--data", "--model"]),
    (["evaluate", "--model", "m"], ["--data"]),
    (["evaluate", "--model", "m", "--data", "d", "--part", "heldout"], ["--part", "held-out"]),
    (["evaluate", "--model", "m", "--data", "d", "--jsn"], ["--jsn:", "--json?"]),
], ids=" ".join)
def test_words_of_the_command(tmp_path, capfd, monkeypatch, argv, words):
    monkeypatch.chdir(tmp_path)
    refused(capfd, tmp_path, *argv, words=words)


@pytest.mark.parametrize(("kind", "model", "words"), [
    ("three", "logistic", ["--model logistic", "2 classes", "found 3", "softmax"]),
    ("three", "linear", ["--model linear", "value", "class", "softmax"]),
    ("two", "linear", ["--model linear", "value", "class", "logistic"]),
    ("values", "softmax", ["--model softmax", "class", "value", "linear"]),
    ("values", "logistic", ["--model logistic", "class", "value", "linear"]),
    ("absent", "softmax", ["absent", "no such folder", "prepare"]),
    ("three.csv", "softmax", ["three.csv", "folder"]),
    (".", "softmax", ["dataset.json", "no such file"]),
])
def test_model_and_data(tmp_path, capfd, data, kind, model, words):
    refused(capfd, tmp_path, "train", "--data", data / kind, "--model", model, "--iterations", "1",
            "--out", tmp_path / "new", words=words)


def test_resume_with_another_configuration(tmp_path, capfd, data):
    base = ["train", "--data", data / "three", "--model", "softmax", "--out", tmp_path / "m"]
    answer(capfd, *base, "--iterations", "3")
    for options, words in [
            (["--iterations", "2"], ["3 iterations", "--iterations 2", "--restart"]),
            (["--iterations", "4", "--l2", "1"], ["--l2 was 0.0 and is 1.0", "--restart"]),
            (["--iterations", "4", "--data", data / "two"], ["data", "--restart"])]:
        refused(capfd, tmp_path, *base, *options, words=words)
    assert answer(capfd, *base, "--iterations", "4")["iterations"] == 4


def test_evaluate_on_other_data(tmp_path, capfd, data):
    answer(capfd, "train", "--data", data / "three", "--model", "softmax", "--out", tmp_path / "m",
           "--iterations", "1")
    (tmp_path / "in.csv").write_text("g,label\n1,0\n1,1\n1,2\n", encoding="utf-8")
    answer(capfd, "prepare", tmp_path / "in.csv", "--out", tmp_path / "other")
    for folder, words in [(tmp_path / "other", ["--data", "2 feature columns", "'f0'", "'g'"]),
                          (data / "two", ["--data", "classes", "'yes'"]),
                          (data / "values", ["--data", "class", "value"]),
                          (tmp_path / "absent", ["absent", "no such folder"])]:
        refused(capfd, tmp_path, "evaluate", "--model", tmp_path / "m", "--data", folder,
                words=words)
    refused(capfd, tmp_path, "evaluate", "--model", tmp_path / "no", "--data", data / "three",
            words=["no", "no such folder", "train"])


def test_evaluate_a_part_that_is_not_there(tmp_path, capfd):
    (tmp_path / "in.csv").write_bytes(OK)
    answer(capfd, "prepare", tmp_path / "in.csv", "--out", tmp_path / "d")
    answer(capfd, "train", "--data", tmp_path / "d", "--model", "softmax", "--out", tmp_path / "m",
           "--iterations", "1")
    refused(capfd, tmp_path, "evaluate", "--model", tmp_path / "m", "--data", tmp_path / "d",
            "--part", "held-out", words=["--part held-out", "--test-fraction"])


def test_json_changes_nothing_of_an_error(tmp_path, capfd):
    assert command("prepare", tmp_path / "absent.csv", "--out", tmp_path / "new", "--json") == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert_one_line(err, ["absent.csv"])
    with pytest.raises(json.JSONDecodeError):
        json.loads(err)
    assert listing(tmp_path) == []
