"""What a Hadoop cluster's configuration says: where the web servers of HDFS are, and who we are there.

Read from files, and in tasks from the variables that Hadoop streaming makes of the job's settings:
``hdfs getconf`` would tell the same, after a second in which a JVM starts.
"""

from __future__ import annotations

import getpass
import os
import re
import shutil
from urllib.parse import urlsplit
from xml.etree import ElementTree

from mr_gradient.errors import UsageError

#: Web addresses of name nodes, with commas between, each HOST:PORT or a URL; or ``off``.
WEB_HDFS = "MR_GRADIENT_WEBHDFS"
_FILES = ("hdfs-site.xml", "core-site.xml", "mapred-site.xml")
_USUAL_PORT = 9870


def web_addresses(authority: str) -> list[str]:
    """URLs of the name nodes that serve ``hdfs://AUTHORITY``, one of which is active.

    Empty where the user wants none. Without any configuration: the host's usual port.
    """
    given = os.environ.get(WEB_HDFS, "")
    if given:
        return [] if given == "off" else [_url(each.strip(), "http") for each in given.split(",")]
    settings = _Settings()
    name = authority or urlsplit(settings.get("fs.defaultFS")).netloc
    if name in settings.get("dfs.nameservices").split(","):
        nodes = settings.get(f"dfs.ha.namenodes.{name}")
        ends = [f".{name}.{node.strip()}" for node in nodes.split(",")] if nodes else [f".{name}"]
    else:
        ends = [""]
    kind = "https" if settings.get("dfs.http.policy") == "HTTPS_ONLY" else "http"
    if ends != [""] or name == urlsplit(settings.get("fs.defaultFS")).netloc:
        found = filter(None, (settings.get(f"dfs.namenode.{kind}-address{end}") for end in ends))
        if urls := [_url(each, kind, name) for each in found]:
            return urls
    host = urlsplit(f"//{name}").hostname
    return [f"{kind}://{host}:{_USUAL_PORT}"] if host else []


def setting(name: str) -> str:
    """A property of the cluster's configuration, or an empty string."""
    return _Settings().get(name)


def user() -> str:
    """Name of the user in HDFS, where there is no Kerberos."""
    try:
        return os.environ.get("HADOOP_USER_NAME") or getpass.getuser()
    except (KeyError, OSError):  # a number without a name
        raise UsageError("HADOOP_USER_NAME: must be set, since this user has no name") from None


def command() -> str | None:
    """Path of the program ``hadoop``, or None."""
    own = os.path.join(os.environ.get("HADOOP_HOME", ""), "bin", "hadoop")
    return own if os.path.isabs(own) and os.access(own, os.X_OK) else shutil.which("hadoop")


def _url(address: str, kind: str, name: str = "") -> str:
    """``0.0.0.0`` stands for the host that HDFS itself is at."""
    if "://" in address:
        return address.rstrip("/")
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise UsageError(f"{WEB_HDFS}: addresses must be HOST:PORT, found {address!r}")
    if host == "0.0.0.0" and name:
        host = urlsplit(f"//{name}").hostname or host
    return f"{kind}://{host}:{port}"


class _Settings:
    """Of the task's job, else of the configuration's files."""

    def __init__(self) -> None:
        home = os.environ.get("HADOOP_HOME", "")
        folders = (os.environ.get("HADOOP_CONF_DIR", ""), os.path.join(home, "etc/hadoop"),
                   "/etc/hadoop/conf")
        folder = next((each for each in folders if os.path.isabs(each) and any(
            os.path.isfile(os.path.join(each, name)) for name in _FILES)), None)
        self._read: dict[str, str] = {}
        for name in _FILES if folder else ():
            self._read.update(_properties(os.path.join(folder, name)))

    def get(self, name: str) -> str:
        """The value, or an empty string."""
        return os.environ.get(re.sub(r"\W", "_", name)) or self._read.get(name, "")


def _properties(path: str) -> dict[str, str]:
    if not os.path.isfile(path):
        return {}
    try:
        tree = ElementTree.parse(path)
    except (OSError, ElementTree.ParseError) as error:
        raise UsageError(f"{path}: must be a configuration file of Hadoop: {error}") from None
    return {each.findtext("name", "").strip(): each.findtext("value", "").strip()
            for each in tree.iter("property")}
