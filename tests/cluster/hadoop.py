"""A cluster of Hadoop: started, asked, hurt and stopped."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster import configuration, rest
from cluster.jars import find_jars, java_home
from cluster.options import Options
from cluster.ports import Ports
from cluster.processes import with_argument

_APACHE = "org.apache.hadoop."
#: Class and megabytes of heap of each kind of daemon.
_KINDS = {
    "name node": (f"{_APACHE}hdfs.server.namenode.NameNode", 200),
    "data node": (f"{_APACHE}hdfs.server.datanode.DataNode", 128),
    "resource manager": (f"{_APACHE}yarn.server.resourcemanager.ResourceManager", 256),
    "node manager": (f"{_APACHE}yarn.server.nodemanager.NodeManager", 160),
    "history server": (f"{_APACHE}mapreduce.v2.hs.JobHistoryServer", 160)}
_SECONDS_TO_START = 120


class HadoopCluster:
    """Daemons are named ``name node``, ``data node 1``, ``data node 2``, ``resource manager``,
    ``node manager 1``, ``node manager 2``, ``history server``. The data node and the node manager of
    a number are one host. ``folder`` holds all that there is, ``log(name)`` what a daemon says.

    Raises ``Missing`` where Java or Maven is not there, ``RuntimeError`` with the log of a daemon
    that does not start.
    """

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()
        self.jars, self.java_home = find_jars(), java_home()
        self.ports = Ports()
        self._supervisor = subprocess.Popen(
            [sys.executable, "-m", "cluster.supervisor"], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)})
        try:
            self.folder = Path(self._supervisor.stdout.readline().rstrip("\n"))
            self._prepare()
            self._start_all()
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> HadoopCluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Kill all processes and remove all files; harmless when done before."""
        with self._supervisor as supervisor:
            if supervisor.poll() is None:
                with contextlib.suppress(BrokenPipeError):
                    supervisor.stdin.write('{"do": "stop"}\n')
                    supervisor.stdin.flush()
        self.ports.close()

    # Daemons

    def start(self, name: str) -> int:
        """Start a daemon, or start it again; returns its process number. Does not wait for it."""
        kind, _, node = name.rpartition(" ") if name[-1].isdigit() else (name, "", "")
        main, heap = _KINDS[kind]
        java = [str(self.java_home / "bin" / "java"), *configuration.java_options(heap),
                *self.options.java, f"-Djava.io.tmpdir={self.folder}/tmp",
                "-cp", f"{self._conf}:{self.jars}/*"]
        # Whoever is early asks again soon.
        early = ["-Dipc.client.connect.max.retries=100", "-Dipc.client.connect.retry.interval=100"]
        argv, env = [*java, main, *early], dict(self._base_environment)
        if node:
            folder = self.folder / f"node{node}"
            folder.mkdir(exist_ok=True)
            argv += configuration.node_options(kind, int(node), folder)
            env |= {key: value.format(node=node, folder=folder)
                    for key, value in self.options.node_environment.items()}
        elif kind == "name node":
            argv = [*java, main]
            if not (self.folder / "name").exists():
                script = shlex.join([*argv, "-format"]) + " && exec " + shlex.join(argv)
                argv = ["/bin/sh", "-c", script]
        return self._ask("start", name=name, argv=argv, env=env, folder=str(self.folder),
                         log=str(self._log_path(name)))

    def kill(self, name: str) -> list[int]:
        """kill -9 a daemon with all its processes, the containers of a node manager included.

        Returns the process numbers, the daemon's first.
        """
        return self._ask("kill", name=name)

    def running(self) -> list[str]:
        """Names of the daemons that run."""
        return [name for name, status in self._ask("poll").items() if status is None]

    def log(self, name: str) -> str:
        return self._log_path(name).read_text("utf-8", "replace")

    def processes(self, container: str) -> list[int]:
        """Processes that have a container's number on their command line: its shells, its Java."""
        return list(with_argument(container))

    # Clients

    def environment(self, **changes: str) -> dict[str, str]:
        """This process's variables and what a client needs: mrjob, ``hadoop`` or our commands."""
        path = f"{self.folder / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        return {**os.environ, **self._client_environment, "PATH": path, **changes}

    def run(self, *arguments: object, user: str = "", check: bool = True) -> str:
        """``hadoop ARGUMENTS``; returns its stdout. ``user``: instead of the ordinary one."""
        command = [str(self.folder / "bin" / "hadoop"), *map(str, arguments)]
        env = self.environment(**{"HADOOP_USER_NAME": user} if user else {})
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise RuntimeError(f"{shlex.join(command[1:])}: status {done.returncode}\n{done.stderr}")
        return done.stdout

    @property
    def streaming_jar(self) -> Path:
        return next(self.jars.glob("hadoop-streaming-*.jar"))

    @property
    def resource_manager(self) -> rest.ResourceManager:
        return rest.ResourceManager(self.ports.address("resource manager webapp."))

    def name_node(self, bean: str = "FSNamesystemState") -> dict[str, Any]:
        """A JMX bean of the name node, such as ``NameNodeInfo``."""
        return rest.bean(self.ports.address("name node web"), f"service=NameNode,name={bean}")

    def web_hdfs(self, path: str, operation: str, user: str = "", **parameters: str) -> Any:
        """PUT an operation such as ``MKDIRS`` to the name node, by default as the superuser."""
        query = "&".join([f"user.name={user or configuration.SUPERUSER}", f"op={operation}",
                          *(f"{name}={value}" for name, value in parameters.items())])
        return rest.put(f"http://{self.ports.address('name node web')}/webhdfs/v1{path}?{query}")

    def listed(self, path: str) -> set[str]:
        """Paths of what is in a folder of HDFS; none if it is not there."""
        query = f"op=LISTSTATUS&user.name={configuration.SUPERUSER}"
        try:
            found = rest.get(f"http://{self.ports.address('name node web')}/webhdfs/v1{path}?{query}")
        except OSError as error:
            if "FileNotFoundException" not in str(error):
                raise
            return set()
        return {f"{path}/{each['pathSuffix']}" for each in found["FileStatuses"]["FileStatus"]}

    def wait(self, what: str, ready: Callable[[], Any], seconds: float = 60) -> Any:
        """The first true answer of ``ready``; that a daemon does not answer yet counts as false."""
        end, reason = time.monotonic() + seconds, ""
        while True:
            try:
                if answer := ready():
                    return answer
            except OSError as error:
                reason = f"; {error}"
            if time.monotonic() > end:
                raise RuntimeError(f"{what}: not within {seconds:.0f} s{reason}")
            time.sleep(0.05)

    # The start

    @property
    def _conf(self) -> Path:
        return self.folder / "conf"

    def _log_path(self, name: str) -> Path:
        return self.folder / "logs" / f"{name.replace(' ', '-')}.log"

    def _prepare(self) -> None:
        for name in ("bin", "logs", "tmp"):
            (self.folder / name).mkdir()
        configuration.write(self._conf, self.jars, self.options, self.ports)
        # No variable of the driver's reaches a task by way of a daemon.
        self._base_environment = {
            "PATH": os.defpath, "LANG": "C.UTF-8", "JAVA_HOME": str(self.java_home),
            "HADOOP_USER_NAME": configuration.SUPERUSER}
        self._client_environment = {
            "HADOOP_HOME": str(self.folder), "HADOOP_CONF_DIR": str(self._conf),
            "HADOOP_LOG_DIR": str(self.folder / "logs"), "JAVA_HOME": str(self.java_home),
            # mrjob takes the home in HDFS from the user's name on this machine.
            **dict.fromkeys(("HADOOP_USER_NAME", "USER", "LOGNAME"), self.options.user)}
        script = self.folder / "bin" / "hadoop"
        head, _, body = Path(__file__).with_name("hadoop.sh").read_text("utf-8").partition("\n")
        options = [*configuration.java_options(256), *self.options.java,
                   f"-Djava.io.tmpdir={self.folder}/tmp"]
        values = {"HADOOP_CONF_DIR": self._conf, "JAVA_HOME": self.java_home,
                  "HADOOP_JARS": self.jars, "HADOOP_JAVA_OPTIONS": " ".join(options)}
        assignments = [f"{name}={shlex.quote(str(value))}" for name, value in values.items()]
        script.write_text("\n".join([head, *assignments, body]), "utf-8")
        script.chmod(0o755)
        # Where clients look for it in what Hadoop itself installs.
        tools = self.folder / "share" / "hadoop" / "tools" / "lib"
        tools.mkdir(parents=True)
        (tools / self.streaming_jar.name).symlink_to(self.streaming_jar)

    def _start_all(self) -> None:
        names = ["name node", "resource manager"]
        names += [f"node manager {i + 1}" for i in range(self.options.node_managers)]
        names += [f"data node {i + 1}" for i in range(self.options.data_nodes)]
        for name in names:
            self.start(name)
        self._wait_for("name node", self._make_folders)
        if self.options.history:
            self.start("history server")
        self._wait_for("data nodes", lambda: self.name_node().get("NumLiveDataNodes")
                       == self.options.data_nodes)
        self._wait_for("node managers", lambda: self.resource_manager.metrics()["activeNodes"]
                       == self.options.node_managers)
        if self.options.history:
            address = self.ports.address("history server web")
            self._wait_for("history server",
                           lambda: rest.get(f"http://{address}/ws/v1/history/info"))

    def _make_folders(self) -> bool:
        """Those in HDFS; the name node refuses while it is in safe mode."""
        for path, owner, mode in configuration.hdfs_folders(self.options.user):
            self.web_hdfs(path, "MKDIRS", permission=mode)
            self.web_hdfs(path, "SETOWNER", owner=owner)
        return True

    def _wait_for(self, what: str, ready: Callable[[], Any]) -> None:
        """Wait for a part of the start, as long as all daemons run."""
        def ready_or_dead() -> Any:
            for name, status in self._ask("poll").items():
                if status is not None:
                    raise RuntimeError(f"{name} ended with status {status}:\n{self.log(name)[-4000:]}")
            return ready()

        self.wait(what, ready_or_dead, _SECONDS_TO_START)

    def _ask(self, request: str, **arguments: Any) -> Any:
        """One request to the supervisor and its answer."""
        self._supervisor.stdin.write(json.dumps({"do": request, **arguments}) + "\n")
        self._supervisor.stdin.flush()
        answer = self._supervisor.stdout.readline()
        if not answer:
            raise RuntimeError("the supervisor of the cluster is gone")
        return json.loads(answer)
