"""Environments in HDFS, in a private folder of the user's that outlives the driver.

    DIGEST.zip         an archive, under the digest of its content
    DIGEST.used        empty; its time tells when a driver last had use for the archive
    DIGEST.*.part      an archive that is being written, and then gets its name

Not the time of the archive itself: a node refuses a file that has changed since its job was submitted.
What nobody has used for a month goes when the next driver comes.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
import uuid
from collections.abc import Callable

from mr_gradient import probe
from mr_gradient.dataset.webhdfs import WebHdfs
from mr_gradient.jobs.engines import environment, hadoop_client
from mr_gradient.jobs.engines.base import Work
from mr_gradient.jobs.engines.environment import Environment
from mr_gradient.jobs.engines.hadoop_storage import HadoopStorage
from mr_gradient.ownership import owned_folder

#: Below the folder where mrjob keeps its files in HDFS, by default the user's home.
FOLDER = ".mr_gradient/environments"
_DAY = 86400.0
_DAYS = 30
_PART, _MARK = ".part", ".used"


class HadoopEnvironments(HadoopStorage):
    """Archives below the folder ``uri``. Jobs of one driver are of one kind and share one."""

    def __init__(self, hadoop: list[str], uri: str) -> None:
        super().__init__(hadoop, uri)
        self._digest, self._marked = "", 0.0

    def options(self, work: Work, watch: Callable[[str], None]) -> list[str]:
        """Of a job whose tasks are to find the packages. ``watch``: as the engine's."""
        if not self._digest:
            watch("looking at the packages of this Python")
            packed = Environment.of(work)
            self._digest = packed.digest
            self.make()
            if not self._is_there():
                self._add(packed, watch)
        if time.monotonic() > self._marked + _DAY or not self._marked:
            self._mark()
        return ["--archives", f"{self.uri}/{self._digest}.zip#{environment.NAME}",
                "--cmdenv", f"{probe.SHIPPED}={environment.ENDING}"]

    def _is_there(self) -> bool:
        """Whether the archive is; archives that are no longer used go."""
        ages = self._ages()
        for name, age in ages.items():
            stem = name.partition(".")[0]
            if name.endswith(_PART):
                old = age > _DAY
            else:
                old = stem != self._digest and ages.get(stem + _MARK, age) > _DAYS * _DAY
            if old:
                self.remove(name)
        return f"{self._digest}.zip" in ages

    def _add(self, packed: Environment, watch: Callable[[str], None]) -> None:
        """Whoever comes first wins; the archives are the same."""
        self._mark()
        # Not in the driver's scratch folder, which is in memory.
        with owned_folder("mr_gradient-", tempfile.gettempdir()) as folder:
            part = f"{self._digest}.{uuid.uuid4().hex[:8]}{_PART}"
            path = os.path.join(folder, part)
            packed.write(path)
            watch(f"sending {os.path.getsize(path) / 1e6:.0f} MB of packages")
            self.put(path)

        def over_web(web: WebHdfs) -> None:
            with contextlib.suppress(FileExistsError):
                web.rename(f"{self._path}/{part}", f"{self._path}/{self._digest}.zip")

        self._either(over_web, lambda: hadoop_client.run(
            self._hadoop, "fs", "-mv", f"{self.uri}/{part}", f"{self.uri}/{self._digest}.zip"))
        self.remove(part)

    def _mark(self) -> None:
        """The archive is used today."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, self._digest + _MARK)
            open(path, "xb").close()
            self.put(path)
        self._marked = time.monotonic()

    def _ages(self) -> dict[str, float]:
        """Seconds since the files were written, by name."""
        def over_web(web: WebHdfs) -> dict[str, int]:
            return {each["pathSuffix"]: each["modificationTime"] for each in web.children(self._path)}

        def by_client() -> dict[str, int]:
            said = hadoop_client.run(self._hadoop, "fs", "-stat", "%Y %n", f"{self.uri}/*").stdout
            words = [line.split() for line in said.splitlines()]
            return {each[1]: int(each[0]) for each in words if len(each) == 2 and each[0].isdigit()}

        return {name: time.time() - milliseconds / 1000
                for name, milliseconds in self._either(over_web, by_client).items()}
