"""Fixtures of an S3 on this machine, moto's, which ends with the tests."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from mr_gradient.dataset.formats import remote

#: It ends when our end of its input closes, whatever becomes of us.
SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(*server.get_host_and_port(), flush=True)
sys.stdin.read()
server.stop()
"""


@pytest.fixture(scope="module")
def s3_environment():
    """Made up credentials, and none of the machine's own."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("ACCESS_KEY_ID", "testing"), ("SECRET_ACCESS_KEY", "testing"),
                            ("DEFAULT_REGION", "us-east-1"), ("EC2_METADATA_DISABLED", "true"),
                            ("CONFIG_FILE", "/dev/null"), ("SHARED_CREDENTIALS_FILE", "/dev/null")):
            patch.setenv(f"AWS_{name}", value)
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
            patch.delenv(name, raising=False)
        patch.setenv("NO_PROXY", "127.0.0.1")
        yield patch


@pytest.fixture(scope="module")
def s3_server(s3_environment):
    """The address of an S3 on this machine."""
    with subprocess.Popen([sys.executable, "-c", SERVER], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            host, port = process.stdout.readline().split()
            s3_environment.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
            yield f"http://{host}:{port}"
        finally:
            process.stdin.close()
            remote.end_threads()


@pytest.fixture
def fresh_s3():
    """No file system of another test's environment, and no thread that is left behind."""
    remote.end_threads()
    yield
    remote.end_threads()
    assert [thread.name for thread in threading.enumerate() if "fsspec" in thread.name] == []
