"""What a driver keeps in S3 for the time of its run: one folder, by boto3."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterator
from typing import Any

from mr_gradient.dataset.uris import split
from mr_gradient.errors import TaskError, UsageError

_TRIES = 3
#: Of one request to remove files.
_MOST_KEYS = 1000
_CREDENTIALS = "; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
#: What to do about errors of AWS, by a word of theirs.
_HINTS = {"NoCredentials": _CREDENTIALS, "Unable to locate credentials": _CREDENTIALS,
          "EndpointConnection": "; is the network up, and the region right?",
          "Could not connect": "; is the network up, and the region right?",
          "AccessDenied": "; may these credentials do that?",
          "InstanceProfile": "; 'aws emr create-default-roles' makes the usual roles",
          "Role is invalid": "; 'aws emr create-default-roles' makes the usual roles"}


@contextlib.contextmanager
def aws_errors(what: str) -> Iterator[None]:
    """What boto3 raises inside the block becomes one line that begins with ``what``."""
    import boto3.exceptions
    import botocore.exceptions

    try:
        yield
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError,
            boto3.exceptions.Boto3Error, botocore.exceptions.HTTPClientError) as error:
        text = " ".join(str(error).split()).rstrip(".")
        hint = next((hint for word, hint in _HINTS.items()
                     if word in text or word in type(error).__name__), "")
        kind = UsageError if hint else TaskError
        raise kind(f"-r emr: {what}: {text}{hint}") from None


class EmrStorage:
    """Files below the folder ``uri`` of S3. ``client``: boto3's."""

    def __init__(self, client: Any, uri: str) -> None:
        self.uri = uri.rstrip("/")
        self._client = client
        _, self._bucket, path = split(self.uri)
        self._prefix = path.strip("/")

    def put(self, path: str, name: str) -> str:
        """Copy a local file here; returns its URI."""
        with aws_errors(f"{self.uri}/{name} cannot be written"):
            self._client.upload_file(path, self._bucket, self._key(name))
        return f"{self.uri}/{name}"

    def put_bytes(self, data: bytes, name: str) -> str:
        """Write a small file; returns its URI."""
        with aws_errors(f"{self.uri}/{name} cannot be written"):
            self._client.put_object(Bucket=self._bucket, Key=self._key(name), Body=data)
        return f"{self.uri}/{name}"

    def read_json(self, name: str) -> dict:
        """A small file of ours; empty if it is not there."""
        from botocore.exceptions import ClientError

        try:
            found = self._client.get_object(Bucket=self._bucket, Key=self._key(name))["Body"].read()
        except ClientError as error:
            if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                return {}
            with aws_errors(f"{self.uri}/{name} cannot be read"):
                raise
        return json.loads(found)

    def lines(self, folder: str) -> Iterator[bytes]:
        """The lines of the files ``part-*`` of a folder here."""
        for key in sorted(self._keys(folder)):
            if os.path.basename(key).startswith("part-"):
                yield from io.BytesIO(self._read(key))

    def _read(self, key: str) -> bytes:
        """A whole file: a reducer's part, of a few blocks, which is read again if the network fails."""
        from botocore.exceptions import BotoCoreError, HTTPClientError

        for number in range(_TRIES):
            try:
                with contextlib.closing(
                        self._client.get_object(Bucket=self._bucket, Key=key)["Body"]) as body:
                    return body.read()
            except (BotoCoreError, HTTPClientError) as error:
                if number + 1 == _TRIES:
                    text = f"s3://{self._bucket}/{key} cannot be read: {' '.join(str(error).split())}"
                    raise TaskError(f"-r emr: {text}") from None
        raise AssertionError

    def remove(self, name: str) -> None:
        """A file here; no error if it is not there."""
        self._delete([self._key(name)])

    def remove_folder(self, name: str = "") -> None:
        """A folder here, or all of it, with the marks that EMR's Hadoop makes for empty folders."""
        folder = self._key(name) if name else self._prefix
        self._delete([*self._keys(name), f"{folder}_$folder$"])

    def _delete(self, keys: list[str]) -> None:
        with aws_errors(f"{self.uri} cannot be removed"):
            for start in range(0, len(keys), _MOST_KEYS):
                self._client.delete_objects(Bucket=self._bucket, Delete={
                    "Quiet": True, "Objects": [{"Key": key} for key in keys[start:start + _MOST_KEYS]]})

    def _keys(self, folder: str) -> Iterator[str]:
        prefix = self._key(folder) if folder else self._prefix
        with aws_errors(f"{self.uri} cannot be listed"):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=f"{prefix}/")
            for page in pages:
                yield from (each["Key"] for each in page.get("Contents", ()))

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}"
