"""Fixtures for tests on a real Hadoop: one cluster for the session, or a reason for having none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NoReturn

import pytest

from cluster.hadoop import HadoopCluster
from cluster.jars import Missing, find_jars, why_not


def leave_out(request: pytest.FixtureRequest, what: str, reason: str) -> NoReturn:
    """A real part cannot be started: CI fails, others skip, and read why."""
    if os.environ.get("MR_GRADIENT_CI"):
        pytest.fail(f"{reason}, and MR_GRADIENT_CI is set")
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(f"\nThe tests on a real {what} are left out. {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def hadoop_jars(request: pytest.FixtureRequest) -> None:
    """That a cluster can be had. Without Java or Maven, CI fails; others skip, and read why."""
    reason = why_not()
    try:
        if not reason:
            find_jars()
    except Missing as missing:
        reason = str(missing)
    if not reason:
        return
    leave_out(request, "Hadoop", reason)


@pytest.fixture(scope="session")
def hadoop(hadoop_jars: None) -> Iterator[HadoopCluster]:
    """A cluster of two nodes, for all tests that do it no harm."""
    with HadoopCluster() as cluster:
        yield cluster
