#!/bin/sh
# The command `hadoop` of a cluster of the tests: what mrjob and people need of the real one.
# HADOOP_CONF_DIR, JAVA_HOME and HADOOP_JARS are set in the first lines of its copy.
command=${1:-}
[ $# -gt 0 ] && shift
case $command in
version) class=org.apache.hadoop.util.VersionInfo ;;
fs | dfs) class=org.apache.hadoop.fs.FsShell ;;
jar) class=org.apache.hadoop.util.RunJar ;;
dfsadmin) class=org.apache.hadoop.hdfs.tools.DFSAdmin ;;
job) class=org.apache.hadoop.mapred.JobClient ;;
node) class=org.apache.hadoop.yarn.client.cli.NodeCLI ;;
application | applicationattempt | container)
    class=org.apache.hadoop.yarn.client.cli.ApplicationCLI
    set -- "$command" "$@" ;;
logs) class=org.apache.hadoop.yarn.client.cli.LogsCLI ;;
*)
    echo "hadoop $command: must be version, fs, jar, dfsadmin, job, node, application or logs" >&2
    exit 2 ;;
esac
# shellcheck disable=SC2086  # the options are words
exec "$JAVA_HOME/bin/java" $HADOOP_JAVA_OPTIONS $HADOOP_CLIENT_OPTS \
    -cp "$HADOOP_CONF_DIR:$HADOOP_JARS/*" "$class" "$@"
