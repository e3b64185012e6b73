"""Hadoop's configuration files, and what each daemon gets beside them.

Chosen for quick small jobs on one machine; what a test relies on is as in production: permissions in
HDFS, an ordinary user, the memory check of YARN.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from xml.sax.saxutils import escape

from cluster.options import Options
from cluster.ports import HOST, Ports

#: Whom the daemons run as, so that even root's test user is an ordinary user of HDFS.
SUPERUSER = "hdfs"

#: For all JVMs, most of which live for seconds: no optimizing compiler and no verifier, which took
#: 2 of the 13 s of a job; and no file in /tmp, which a killed one would leave there.
_QUICK_JAVA = ("-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData "
               "-XX:+UnlockDiagnosticVMOptions -XX:-BytecodeVerificationRemote")

_LOG = """\
log4j.rootLogger=INFO,console
log4j.appender.console=org.apache.log4j.ConsoleAppender
log4j.appender.console.target=System.err
log4j.appender.console.layout=org.apache.log4j.PatternLayout
log4j.appender.console.layout.ConversionPattern=%d{ISO8601} %p %c{2}: %m%n
# mrjob takes a warning on stderr for an error.
log4j.logger.org.apache.hadoop.util.NativeCodeLoader=ERROR
"""


def node_host(node: int) -> str:
    """Address of a node, from 1. Each has its own, so that the scheduler can tell them apart."""
    return f"127.0.0.{1 + node}"


def write(folder: Path, jars: Path, options: Options, ports: Ports) -> None:
    """All files of the configuration folder."""
    # The jar of HDFS has no web pages, and its web servers do not start without their folders.
    for pages in ("hdfs", "datanode", "static"):
        (folder / "webapps" / pages).mkdir(parents=True)
    classpath = f"{folder},{jars}/*"
    quick_java = " ".join([_QUICK_JAVA, *options.java])
    expiry = str(options.expiry_seconds * 1000)
    sites = {
        "core": {
            "fs.defaultFS": f"hdfs://{ports.address('name node')}",
            "hadoop.tmp.dir": f"{folder.parent}/tmp",
            "hadoop.security.group.mapping": "org.apache.hadoop.security.NullGroupsMapping",
            "ipc.client.connect.max.retries": "3"},
        "hdfs": {
            "dfs.namenode.http-address": ports.address("name node web"),
            "dfs.namenode.name.dir": f"file://{folder.parent}/name",
            "dfs.namenode.edits.noeditlogchannelflush": "true",
            "dfs.namenode.safemode.extension": "0",
            "dfs.namenode.heartbeat.recheck-interval": "2000",
            "dfs.namenode.datanode.registration.ip-hostname-check": "false",
            "dfs.client.use.datanode.hostname": "true",
            "dfs.datanode.use.datanode.hostname": "true",
            "dfs.client.block.write.replace-datanode-on-failure.policy": "NEVER",
            "dfs.heartbeat.interval": "1",
            "dfs.replication": str(min(2, options.data_nodes)),
            "dfs.permissions.enabled": "true",
            "dfs.permissions.superusergroup": SUPERUSER},
        "yarn": {
            "yarn.resourcemanager.hostname": HOST,
            **{f"yarn.resourcemanager.{name}address": ports.address(f"resource manager {name}")
               for name in ("", "scheduler.", "resource-tracker.", "admin.", "webapp.")},
            # Its default is in /tmp, whatever hadoop.tmp.dir says.
            "yarn.node-attribute.fs-store.root-dir": f"file://{folder.parent}/node-attributes",
            "yarn.resourcemanager.connect.retry-interval.ms": "200",
            "yarn.resourcemanager.nodemanagers.heartbeat-interval-ms": "100",
            "yarn.nm.liveness-monitor.expiry-interval-ms": expiry,
            "yarn.am.liveness-monitor.expiry-interval-ms": expiry,
            "yarn.client.nodemanager-connect.max-wait-ms": "4000",
            "yarn.client.nodemanager-connect.retry-interval-ms": "500",
            "yarn.nodemanager.aux-services": "mapreduce_shuffle",
            "yarn.nodemanager.resource.memory-mb": str(options.node_memory),
            "yarn.nodemanager.resource.cpu-vcores": "8",
            "yarn.nodemanager.pmem-check-enabled": "true",
            # By itself YARN leaves the check to control groups, also where there are none.
            "yarn.nodemanager.resource.memory.enforced": "false",
            # Java reserves addresses by the gigabyte.
            "yarn.nodemanager.vmem-check-enabled": "false",
            "yarn.nodemanager.resource-monitor.interval-ms": "500",
            "yarn.nodemanager.disk-health-checker.max-disk-utilization-per-disk-percentage": "100",
            "yarn.nodemanager.env-whitelist": ",".join(
                ["JAVA_HOME", "PATH", "LANG", *options.node_environment]),
            "yarn.scheduler.minimum-allocation-mb": "128",
            "yarn.application.classpath": classpath},
        "mapred": {
            "mapreduce.framework.name": "yarn",
            "mapreduce.application.classpath": classpath,
            "mapreduce.jobhistory.address": ports.address("history server"),
            "mapreduce.jobhistory.webapp.address": ports.address("history server web"),
            "mapreduce.jobhistory.admin.address": ports.address("history server admin"),
            "mapreduce.jobhistory.jhist.format": "json",
            "mapreduce.client.progressmonitor.pollinterval": "200",
            "mapreduce.client.completion.pollinterval": "200",
            "yarn.app.mapreduce.am.scheduler.heartbeat.interval-ms": "100",
            "yarn.app.mapreduce.am.resource.mb": "512",
            "yarn.app.mapreduce.am.command-opts": f"-Xmx256m {quick_java}",
            "mapreduce.map.memory.mb": "384",
            "mapreduce.reduce.memory.mb": "384",
            "mapred.child.java.opts": f"-Xmx200m {quick_java}",
            "mapreduce.task.io.sort.mb": "32",
            "mapreduce.reduce.shuffle.connect.timeout": "5000",
            "mapreduce.reduce.shuffle.read.timeout": "10000"}}
    for name, properties in sites.items():
        _write_xml(folder / f"{name}-site.xml", {**properties, **options.properties})
    _write_xml(folder / "capacity-scheduler.xml", {
        "yarn.scheduler.capacity.root.queues": "default",
        "yarn.scheduler.capacity.root.default.capacity": "100",
        # An application master stays for five seconds after its job: the next one must fit beside it.
        "yarn.scheduler.capacity.maximum-am-resource-percent": "0.5"})
    (folder / "log4j.properties").write_text(_LOG, "utf-8")


def java_options(megabytes: int) -> list[str]:
    """For daemons and clients."""
    return [f"-Xmx{megabytes}m", *_QUICK_JAVA.split(), "-Djava.net.preferIPv4Stack=true"]


def node_options(kind: str, node: int, folder: Path) -> list[str]:
    """``-D`` options of the data node or node manager of a node: its address, and its disks."""
    host = node_host(node)
    if kind == "data node":
        properties = {
            "dfs.datanode.hostname": host, "dfs.datanode.address": f"{host}:0",
            "dfs.datanode.http.address": f"{host}:0", "dfs.datanode.ipc.address": f"{host}:0",
            "dfs.datanode.data.dir": f"file://{folder}/blocks"}
    else:
        properties = {
            "yarn.nodemanager.hostname": host, "yarn.nodemanager.address": f"{host}:0",
            "yarn.nodemanager.localizer.address": f"{host}:0",
            "yarn.nodemanager.webapp.address": f"{host}:0", "mapreduce.shuffle.port": "0",
            "yarn.nodemanager.local-dirs": f"{folder}/local",
            "yarn.nodemanager.log-dirs": f"{folder}/logs"}
    return [f"-D{name}={value}" for name, value in properties.items()]


def hdfs_folders(user: str) -> list[tuple[str, str, str]]:
    """Path, owner and mode of what an administrator makes in HDFS before there are jobs."""
    staging = "/tmp/hadoop-yarn/staging"
    return [(f"/user/{user}", user, "755"), ("/tmp", SUPERUSER, "1777"), (staging, SUPERUSER, "1777"),
            # The history server would make the first for itself alone, but jobs write in the second.
            (f"{staging}/history", SUPERUSER, "755"),
            (f"{staging}/history/done_intermediate", SUPERUSER, "1777")]


def _write_xml(path: Path, properties: Mapping[str, str]) -> None:
    lines = [f"  <property><name>{escape(name)}</name><value>{escape(value)}</value></property>"
             for name, value in properties.items()]
    path.write_text("\n".join(["<configuration>", *lines, "</configuration>", ""]), "utf-8")
