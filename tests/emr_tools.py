"""What nodes of the stand-in for EMR have on their path: ``dnf``, ``pip``, ``yarn`` and ``aws``.

    python tests/emr_tools.py NODE TOOL [ARGUMENT ...]
"""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

#: Runs this interpreter without its packages, but for those that ``pip`` was asked for.
_PYTHON = """\
#!/bin/sh
if [ "$1 $2" = "-m pip" ]; then shift 2; exec {executable} {tools} {node} pip "$@"; fi
export PYTHONPATH="$PYTHONPATH:{node}/site"
exec {executable} -S "$@"
"""


def dnf(node: Path, words: list[str]) -> None:
    """``dnf install -y python3.N python3.N-pip``: by any name it is the Python that runs this."""
    name = words[2]
    if words != ["install", "-y", name, f"{name}-pip"] or not re.fullmatch(r"python3\.1[1-4]", name):
        sys.exit(f"No match for argument: {' '.join(words)}")
    path = node / "bin" / name
    tools = Path(__file__).resolve()
    path.write_text(_PYTHON.format(executable=sys.executable, tools=tools, node=node))
    path.chmod(0o755)


def pip(node: Path, words: list[str]) -> None:
    """Links what is installed here, and what that requires; other versions cannot be had."""
    (node / "pip").write_text("\n".join(words))
    for word in words[1:]:
        if not word.startswith("-"):
            _link(node / "site", Requirement(word), set())


def _link(site: Path, wanted: Requirement, seen: set[str]) -> None:
    name = re.sub(r"[-_.]+", "-", wanted.name).lower()
    if name in seen or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
        return
    seen.add(name)
    found = metadata.distribution(wanted.name)
    if not wanted.specifier.contains(found.version, prereleases=True):
        sys.exit(f"No matching distribution found for {wanted}")
    for top in {Path(file).parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
        link = site / top
        if not link.exists():
            link.symlink_to(found.locate_file(top))
    for each in found.requires or ():
        _link(site, Requirement(each), seen)


def yarn(node: Path, words: list[str]) -> None:
    """Keeps what it was asked for."""
    with open(node / "yarn", "a") as file:
        print(" ".join(words), file=file)


def aws(node: Path, words: list[str]) -> None:
    """``aws s3 cp [--recursive] [--only-show-errors] FROM TO``; ``-`` stands for stdin."""
    import boto3

    options = [word for word in words if word.startswith("--")]
    source, target = [word for word in words if not word.startswith("--")][2:]
    assert words[:2] == ["s3", "cp"]
    assert set(options) <= {"--recursive", "--only-show-errors"}
    s3 = boto3.client("s3")
    bucket, _, key = (target if "://" in target else source).removeprefix("s3://").partition("/")
    if "://" in target:
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
        s3.put_object(Bucket=bucket, Key=key, Body=data)
    elif "--recursive" in options:
        for each in s3.list_objects_v2(Bucket=bucket, Prefix=key)["Contents"]:
            path = Path(target) / each["Key"].removeprefix(key).lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            s3.download_file(bucket, each["Key"], str(path))
    else:
        s3.download_file(bucket, key, target)


if __name__ == "__main__":
    {"dnf": dnf, "pip": pip, "yarn": yarn, "aws": aws}[sys.argv[2]](Path(sys.argv[1]), sys.argv[3:])
