"""Run a command beside a Hadoop cluster of this machine, which lives as long as the command.

    PYTHONPATH=tests python -m cluster [--data-nodes N] [--node-managers N] COMMAND [ARGUMENT ...]

In the command's environment ``hadoop`` is on the path, HADOOP_HOME and HADOOP_CONF_DIR are set, and
the user of HDFS is an ordinary one. Prints the addresses of the web pages on stderr.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys

from cluster import HadoopCluster, Missing, Options


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m cluster", description=__doc__.partition("\n")[0])
    parser.add_argument("--data-nodes", type=int, default=2, metavar="N")
    parser.add_argument("--node-managers", type=int, default=2, metavar="N")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    if not arguments.command:
        parser.error("a command to run is needed")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with HadoopCluster(Options(data_nodes=arguments.data_nodes,
                                   node_managers=arguments.node_managers)) as hadoop:
            for name, port in (("resource manager", "resource manager webapp."),
                               ("name node", "name node web")):
                print(f"{name}: http://{hadoop.ports.address(port)}", file=sys.stderr)
            return subprocess.run(arguments.command, env=hadoop.environment(),
                                  check=False).returncode
    except Missing as missing:
        print(f"python -m cluster: {missing}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
