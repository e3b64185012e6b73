"""Files that a user writes, or may want to: YAML, of which JSON is a part. No task reads any."""

from __future__ import annotations

from typing import Any

from mr_gradient.errors import UsageError


def read_yaml(path: str) -> Any:
    """What a YAML file holds, {} for nothing. Raises ``UsageError`` if it is not there or not YAML."""
    import yaml  # comes with mrjob

    try:
        with open(path, encoding="utf-8") as file:
            value = yaml.safe_load(file)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        said = " ".join(str(error).split())
        raise UsageError(f"{path}: must be YAML: {said}") from None
    return {} if value is None else value


def yaml_chunks(value: dict[str, Any], comment: str) -> list[bytes]:
    """Plain data as the bytes of a file for people to read, below a line of comment."""
    import yaml

    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=None)
    return [f"# {comment}\n{text}".encode()]


def parse_yaml(text: str) -> Any:
    """What an option's value says in YAML; its own text if it is none."""
    import yaml

    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return text
