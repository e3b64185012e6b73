"""mrjob's EMR runner as a maker of requests: it describes a cluster and a step, and starts neither.

mrjob would look for the cluster, upload the job's files and wait for logs at each job. Here the engine
does all that once; what stays mrjob's are its options, its configuration files and the arguments of a
streaming step.
"""

from __future__ import annotations

import importlib.metadata
import os
import sys
from collections.abc import Callable, Iterator

import boto3
from mrjob.cloud import HadoopInTheCloudJobRunner
from mrjob.emr import EMRJobRunner
from mrjob.setup import UploadDirManager

from mr_gradient import fingerprint, probe
from mr_gradient.errors import UsageError
from mr_gradient.jobs.engines import package

#: Amazon Linux 2023, Hadoop 3.4; its own python3 is 3.9.
RELEASE = "7.13.0"
#: Four cores and 16 GiB of x86, as most drivers are: bits and environments are those of a CPU type.
INSTANCE = "m6i.xlarge"
#: Workers of a cluster that the run makes.
WORKERS = 2
#: What ``aws emr create-default-roles`` makes; mrjob would make roles of its own, which stay.
_PROFILE, _ROLE = "EMR_EC2_DefaultRole", "EMR_DefaultRole"
#: Versions that Amazon Linux 2023 has packages of beside its own 3.9.
_PYTHONS = range(11, 15)
#: Seconds of idleness that AutoTerminationPolicy takes.
_IDLE = (60, 604800)
_CHECK_SECONDS = 5
#: What formats are read with, by the tasks of the job in this file.
_READERS, _PREPARES = ("pyarrow", "Pillow", "scikit-learn"), "prepare_job.py"


def python() -> str:
    """The Python of the nodes: where it can be this driver's, for which the package is compiled."""
    minor = sys.version_info.minor
    return f"python3.{minor if minor in _PYTHONS else _PYTHONS[0]}"


def packages(*more: str) -> list[str]:
    """What pip installs on the nodes: our numpy and scipy, since the bits depend on them (law 2), what
    fetches shards from S3 without a JVM, and what a driver needs that runs on the master node.

    ``more``: what the tasks need besides, in our versions, where we have it.
    """
    found = []
    for name in ("numpy", "scipy", *more):
        try:
            found.append(f"{name}=={importlib.metadata.version(name).partition('+')[0]}")
        except importlib.metadata.PackageNotFoundError:
            continue  # no such data here, so none there
    return [*found, "s3fs", "PyYAML", "rich", "threadpoolctl"]


class EmrRunner(EMRJobRunner):
    """``module``: where the class of the job is; ``form``: of its records, for ``probe``.
    ``defaults``: properties of the job, below all that the user sets. ``stage``: gives the URI of a
    local file. ``submit``: runs a step to its end.
    """

    module, form = "", "base64"
    defaults: dict[str, str] = {}
    stage: Callable[[str], str]
    submit: Callable[[dict], None]

    @classmethod
    def _default_opts(cls) -> dict:
        return {**super()._default_opts(), "bootstrap_mrjob": False, "check_input_paths": False,
                "read_logs": False, "cleanup": ["LOCAL_TMP"], "cleanup_on_failure": ["LOCAL_TMP"],
                "image_version": RELEASE, "applications": ["Hadoop"], "region": _region(),
                "master_instance_type": INSTANCE, "core_instance_type": INSTANCE,
                "num_core_instances": WORKERS, "iam_instance_profile": _PROFILE,
                "iam_service_role": _ROLE, "check_cluster_every": _CHECK_SECONDS,
                "python_bin": [python()]}

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        if self._opts["pool_clusters"]:
            raise UsageError("--pool-clusters: a run has one cluster for all its jobs; name a running "
                             "one with --cluster-id")
        if not _IDLE[0] <= self._opts["max_mins_idle"] * 60 <= _IDLE[1]:
            raise UsageError(f"--max-mins-idle {self._opts['max_mins_idle']:g}: must be 1 to 10080")

    def _fix_s3_tmp_and_log_uri_opts(self) -> None:
        """As mrjob's, but makes no bucket, and keeps logs only where the user wants them."""
        if not self._opts["cloud_tmp_dir"]:
            raise UsageError("-r emr: needs a folder in S3 for the files of the run; name one with "
                             "--cloud-tmp-dir s3://BUCKET/FOLDER/")
        for name in ("cloud_tmp_dir", "cloud_log_dir"):
            if given := self._opts[name]:
                if not given.startswith("s3://"):
                    raise UsageError(f"--{name.replace('_', '-')} {given}: must be s3://BUCKET/FOLDER/")
                self._opts[name] = f"{given.rstrip('/')}/"

    def get_image_version(self) -> str:
        """Of which only this matters: not one of ten years ago."""
        return RELEASE

    def get_hadoop_version(self) -> str:
        return "3"

    def _bootstrap_python(self) -> list[list]:
        """Python and packages, unless the user has them another way (``--no-bootstrap-python``)."""
        if self._opts["bootstrap_python"] is False:
            return []
        name = python()
        readers = _READERS if os.path.basename(self._script_path) == _PREPARES else ()
        words = " ".join(f"'{each}'" for each in packages(*readers))
        return [[f"sudo dnf install -y {name} {name}-pip"],
                [f"sudo {name} -m pip install --disable-pip-version-check {words}"]]

    def cluster(self, name: str, folder: str) -> tuple[dict, dict[str, str]]:
        """The request for a cluster, and the URIs below ``folder`` where it wants local files.

        ``cleanup`` removes those files: send them before.
        """
        self._upload_mgr = UploadDirManager(f"{folder}/bootstrap/")
        self._add_bootstrap_files_for_upload()
        request = self._cluster_kwargs()
        request["Name"] = name
        request["Instances"]["KeepJobFlowAliveWhenNoSteps"] = True
        request.setdefault("AutoTerminationPolicy", {
            "IdleTimeout": int(self._opts["max_mins_idle"] * 60)})
        tags = {**self._opts["tags"], "mr_gradient": name}
        request["Tags"] = [{"Key": key, "Value": value} for key, value in sorted(tags.items())]
        if not request.get("LogUri"):
            del request["LogUri"]
        return request, self._upload_mgr.path_to_uri()

    def _run(self) -> None:
        """The job is one step."""
        self._create_setup_wrapper_scripts()
        self.submit(self._build_step(0))

    def _action_on_failure(self) -> str:
        return "CONTINUE"

    def _step_name(self, step_num: int) -> str:
        return self.defaults.get("mapreduce.job.name", super()._step_name(step_num))

    def _cmdenv(self) -> dict:
        """The bits depend on what some say to BLAS and numpy (law 2): tasks get the driver's. The
        package comes first on the path, and then what the user has put there."""
        found = {**{name: os.environ[name] for name in fingerprint.KERNELS if name in os.environ},
                 **super()._cmdenv()}
        path = [package.NAME, *filter(None, [found.get("PYTHONPATH")])]
        return {**found, probe.ALONE: "1", "PYTHONPATH": os.pathsep.join(path)}

    def _jobconf_for_step(self, step_num: int) -> dict:
        return {**self.defaults, **super()._jobconf_for_step(step_num)}

    def _script_args_for_step(self, step_num: int, mrc: str, input_manifest: bool = False) -> list[str]:
        """The job as a module of the package, which is on the tasks' path; first ``probe``."""
        words = super()._script_args_for_step(step_num, mrc, input_manifest)
        at = words.index(self._working_dir_mgr.name("file", self._script_path))
        return [*words[:at], "-m", probe.__name__, self.form, self.module, *words[at + 1:]]

    def _file_arg_hash_paths(self, *args, **kwargs) -> Iterator[str]:
        """As mrjob's, without the job's own file."""
        script = "#" + self._working_dir_mgr.name("file", self._script_path)
        return (each for each in super()._file_arg_hash_paths(*args, **kwargs)
                if not each.endswith(script))

    def _dest_in_wd_mirror(self, path: str, name: str) -> str | None:
        if "://" in path or path == self._script_path:
            return None
        return self.stage(path)

    def cleanup(self, mode: object = None) -> None:
        """Of local files only: the cluster is the engine's."""
        super(HadoopInTheCloudJobRunner, self).cleanup(mode)


def _region() -> str | None:
    """As AWS's own tools find it; mrjob asks for us-west-2 if there is none."""
    return os.environ.get("AWS_REGION") or boto3.session.Session().region_name
