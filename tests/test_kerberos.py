"""A cluster with Kerberos: data and jobs go by the user's own ``hadoop``, its ticket and its tokens.

WebHDFS asks for SPNEGO there, which we do not speak. The daemons are real, and so is the key
distribution centre; data nodes are on ports that anybody can take, where others have TLS.
"""

from __future__ import annotations

import os

import pytest
from cluster.kerberos import KeyDistributionCentre, SecureCluster, why_not
from trainings import bits, class_data, run

from mr_gradient.dataset import shards, webhdfs

pytestmark = pytest.mark.long

SOFTMAX = {"model": "softmax", "learning_rate": 0.1}


@pytest.fixture(scope="module")
def cluster(hadoop_jars, tmp_path_factory):
    if reason := why_not():
        pytest.fail(reason) if os.environ.get("MR_GRADIENT_CI") else pytest.skip(reason)
    centre = KeyDistributionCentre(tmp_path_factory.mktemp("kerberos") / "centre")
    try:
        # Tasks find ``hadoop`` as the variables of a node manager say, as on a real node.
        with SecureCluster(centre, data_nodes=1, node_managers=1,
                           node_environment={"HADOOP_HOME": "{folder}/.."}) as found:
            yield found
    finally:
        centre.close()


@pytest.fixture(scope="module")
def ticket(cluster):
    return cluster.centre.ticket("hadoop", cluster.centre.keytab("hadoop"))


@pytest.fixture(scope="module")
def data(cluster, ticket, tmp_path_factory):
    """The same data set here and in HDFS."""
    here = tmp_path_factory.mktemp("data") / "data"
    class_data(here, shards=2)
    cluster.run_as(ticket, "fs", "-put", here, "data")
    return str(here), f"hdfs://{cluster.ports.address('name node')}/user/hadoop/data"


@pytest.fixture
def signed_in(cluster, ticket, tmp_path, monkeypatch):
    for name, value in cluster.environment(**ticket, MR_GRADIENT_CACHE=str(tmp_path / "cache")).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(shards, "_open", {})
    yield
    shards._open.clear()


def test_nobody_is_let_in_without_a_ticket(cluster):
    with pytest.raises(RuntimeError, match="Client cannot authenticate via"):
        cluster.run_as({}, "fs", "-ls", "/")


def test_webhdfs_asks_for_more_than_a_name(cluster, signed_in):
    with pytest.raises(webhdfs.UnreachableError, match="it answers 401"):
        webhdfs.WebHdfs("").status("/user/hadoop")


def test_shards_are_read_by_the_users_hadoop(signed_in, data, tmp_path):
    for name, folder in zip(("here", "there"), data):
        run(folder, tmp_path / name, 2, **SOFTMAX)
    assert bits(tmp_path / "there") == bits(tmp_path / "here")
    assert len(list((tmp_path / "cache").iterdir())) == 3
