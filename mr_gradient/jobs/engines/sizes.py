"""How many reducers a job has, and how much memory and how many cores its tasks ask for.

By the size of its model and of its splits; memory only where the cluster's own settings are smaller, or
say nothing.
"""

from __future__ import annotations

from mr_gradient.dataset import hadoop_site
from mr_gradient.jobs.engines.base import Work

#: Blocks that one reducer adds up; a start of a reducer takes as long as adding some hundred MB.
_BLOCKS_PER_REDUCER = 16
_MOST_REDUCERS = 64
_MIB = 1 << 20
#: MiB of a Python with numpy and this package, and of a JVM beside its heap.
_PYTHON, _JVM = 128, 128
#: Heap, in MiB, of a JVM that passes records on: some, and the buffer in which it sorts.
_HEAP, _SORT = 100, 100
_USUAL = 1024
#: Mappers still at work when reducers start.
_LAST = 4


def of_job(work: Work) -> dict[str, str]:
    """Properties of the job."""
    heap = _HEAP + _setting("mapreduce.task.io.sort.mb", _SORT)
    reducers = work.reducers or min(_MOST_REDUCERS, -(-work.blocks // _BLOCKS_PER_REDUCER))
    found = {"mapreduce.job.reduces": str(max(1, reducers))}
    for step, held in (("map", work.map_bytes), ("reduce", work.reduce_bytes)):
        # A task computes in one thread (law 2).
        found[f"mapreduce.{step}.cpu.vcores"] = "1"
        name = f"mapreduce.{step}.memory.mb"
        need = _PYTHON + _JVM + heap + -(-held // _MIB)
        if need > _setting(name, _USUAL):
            found[name] = str(need)
            # Whoever sets the memory alone would give all that is added to the JVM. Its other options
            # are the cluster's: of two heaps the last counts.
            usual = (hadoop_site.setting(f"mapreduce.{step}.java.opts")
                     or hadoop_site.setting("mapred.child.java.opts"))
            found[f"mapreduce.{step}.java.opts"] = f"{usual} -Xmx{heap}m".lstrip()
    return found


def slow_start(work: Work) -> str:
    """The part of the mappers that are done when reducers may start.

    Their JVMs start while the last few mappers run, and hold a slot that a mapper could use no longer
    than that. Where there is one slot Hadoop gives it to the mappers (law 4).
    """
    with open(work.manifest, "rb") as file:
        tasks = sum(1 for _ in file)
    return f"{max(0.5, 1 - _LAST / max(1, tasks)):.3f}"


def _setting(name: str, usual: int) -> int:
    """A number of the cluster's own configuration."""
    given = hadoop_site.setting(name)
    return int(given) if given.isdigit() else usual
