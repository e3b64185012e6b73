"""A real Hadoop on this machine: HDFS, YARN and the job history, each daemon a process of its own.

    with HadoopCluster() as hadoop:
        hadoop.run("fs", "-ls", "/")
        subprocess.run([...], env=hadoop.environment())

Needs Linux, Java 17 and, the first time, Maven. Only the standard library is imported.
"""

from cluster.hadoop import HadoopCluster
from cluster.jars import Missing, find_jars, why_not
from cluster.options import Options

__all__ = ["HadoopCluster", "Missing", "Options", "find_jars", "why_not"]
