"""What a test can choose about a cluster."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Options:
    """``user``: the ordinary user of HDFS and YARN, who owns no more than a home.

    ``node_memory``: MB that a node manager lends out. ``expiry_seconds``: after how long without a
    heartbeat a node manager or an application master counts as lost; ten minutes is Hadoop's own
    choice, and one of the fault tests is ten seconds. ``node_environment``: variables for the
    daemons of the nodes and, through the node managers, for the tasks; ``{node}`` in a value is the
    number of the node, ``{folder}`` its folder. ``properties``: of Hadoop, over ours, for all daemons
    and clients. ``java``: options of all JVMs, those of tasks included.
    """

    data_nodes: int = 2
    node_managers: int = 2
    user: str = "hadoop"
    node_memory: int = 3072
    expiry_seconds: int = 600
    history: bool = True
    node_environment: dict[str, str] = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)
    java: tuple[str, ...] = ()
