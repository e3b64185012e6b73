"""Settings of the test session: hypothesis draws the same examples on every run and machine."""

import pytest
from cluster.fixture import hadoop, hadoop_jars  # noqa: F401  pytest finds fixtures by name
from hypothesis import HealthCheck, settings
from s3_server import fresh_s3, s3_environment, s3_server  # noqa: F401  likewise
from spark_cluster import spark_ready  # noqa: F401  likewise

# A health check that looks at the clock would make a slow machine fail, as a deadline would.
settings.register_profile("repeatable", derandomize=True, database=None, deadline=None,
                          suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("repeatable")


@pytest.fixture(scope="module")
def scratch_file(tmp_path_factory):
    """Path of a file that hypothesis' examples write over; each reads only what it wrote."""
    return str(tmp_path_factory.mktemp("scratch") / "file.safetensors")
