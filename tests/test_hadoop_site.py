"""What Hadoop's configuration says of HDFS, from files, tasks' variables and our own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mr_gradient.dataset import hadoop_site
from mr_gradient.errors import UsageError

pytestmark = pytest.mark.fast


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    for name in ("HADOOP_CONF_DIR", "HADOOP_HOME", hadoop_site.WEB_HDFS):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Write a configuration; ``hdfs-site.xml`` gets what begins with ``dfs.``."""
    def write(**settings: str) -> None:
        monkeypatch.setenv("HADOOP_CONF_DIR", str(tmp_path))
        for file in ("core", "hdfs"):
            rows = "".join(f"<property><name>{name}</name><value> {value} </value></property>\n"
                           for name, value in settings.items()
                           if name.startswith("dfs.") == (file == "hdfs"))
            (tmp_path / f"{file}-site.xml").write_text(f"<configuration>{rows}</configuration>")
    return write


def test_without_a_configuration_the_usual_port_is_tried():
    assert hadoop_site.web_addresses("node:8020") == ["http://node:9870"]
    assert hadoop_site.web_addresses("node") == ["http://node:9870"]
    assert hadoop_site.web_addresses("") == []


def test_the_address_of_the_default_cluster(site):
    site(**{"fs.defaultFS": "hdfs://node:8020", "dfs.namenode.http-address": "0.0.0.0:50070"})
    assert hadoop_site.web_addresses("node:8020") == ["http://node:50070"]
    assert hadoop_site.web_addresses("") == ["http://node:50070"]
    assert hadoop_site.web_addresses("other:8020") == ["http://other:9870"]


def test_https_only(site):
    site(**{"fs.defaultFS": "hdfs://node:8020", "dfs.namenode.http-address": "node:9870",
            "dfs.http.policy": "HTTPS_ONLY", "dfs.namenode.https-address": "node:9871"})
    assert hadoop_site.web_addresses("node:8020") == ["https://node:9871"]


def test_two_name_nodes_of_one_name(site):
    site(**{"fs.defaultFS": "hdfs://east", "dfs.nameservices": "east,west",
            "dfs.ha.namenodes.east": "a, b", "dfs.namenode.http-address.east.a": "one:9870",
            "dfs.namenode.http-address.east.b": "two:9870",
            "dfs.namenode.http-address.west": "three:9870"})
    assert hadoop_site.web_addresses("east") == ["http://one:9870", "http://two:9870"]
    assert hadoop_site.web_addresses("") == ["http://one:9870", "http://two:9870"]
    assert hadoop_site.web_addresses("west") == ["http://three:9870"]


def test_the_variables_of_a_streaming_task_come_first(site, monkeypatch):
    site(**{"fs.defaultFS": "hdfs://node:8020", "dfs.namenode.http-address": "node:1"})
    monkeypatch.setenv("fs_defaultFS", "hdfs://node:8020")
    monkeypatch.setenv("dfs_namenode_http_address", "node:2")
    assert hadoop_site.web_addresses("node:8020") == ["http://node:2"]


def test_the_users_own_word_is_the_last(site, monkeypatch):
    site(**{"fs.defaultFS": "hdfs://node:8020", "dfs.namenode.http-address": "node:1"})
    for value, found in (("a:1, b:2", ["http://a:1", "http://b:2"]), ("off", []),
                         ("https://gate:14000/", ["https://gate:14000"])):
        monkeypatch.setenv(hadoop_site.WEB_HDFS, value)
        assert hadoop_site.web_addresses("node:8020") == found
    monkeypatch.setenv(hadoop_site.WEB_HDFS, "node")
    with pytest.raises(UsageError, match=r"^MR_GRADIENT_WEBHDFS: .* must be HOST:PORT, found 'node'$"):
        hadoop_site.web_addresses("node:8020")


def test_a_damaged_configuration(site, tmp_path):
    site()
    (tmp_path / "hdfs-site.xml").write_text("<configuration>")
    with pytest.raises(UsageError, match=r"hdfs-site.xml: must be a configuration file of Hadoop"):
        hadoop_site.web_addresses("node:8020")


def test_the_program(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert hadoop_site.command() is None
    for folder in (tmp_path, tmp_path / "home/bin"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "hadoop").write_text("#!/bin/sh\n")
        (folder / "hadoop").chmod(0o755)
    assert hadoop_site.command() == str(tmp_path / "hadoop")
    monkeypatch.setenv("HADOOP_HOME", str(tmp_path / "home"))
    assert hadoop_site.command() == str(Path(tmp_path, "home/bin/hadoop"))


def test_the_user(monkeypatch):
    monkeypatch.setenv("HADOOP_USER_NAME", "ada")
    assert hadoop_site.user() == "ada"
    monkeypatch.delenv("HADOOP_USER_NAME")
    monkeypatch.setattr("getpass.getuser", lambda: os.environ["NOBODY"])
    with pytest.raises(UsageError, match=r"^HADOOP_USER_NAME: must be set"):
        hadoop_site.user()
