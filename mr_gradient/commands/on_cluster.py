"""``mr-gradient train -r emr --driver-on-cluster``: what the driver on the master node is given."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import asdict, replace

from mr_gradient.config import TrainConfig
from mr_gradient.dataset.schema import open_dataset
from mr_gradient.dataset.uris import is_uri
from mr_gradient.errors import UsageError
from mr_gradient.jobs.launch import job_arguments, launcher
from mr_gradient.training_folder import TrainingFolder
from mr_gradient.training_parts import Parts

_CONFIG = "config.json"
_HERE_ONLY = ("runner", "runner_options", "verbose")


def train_on_cluster(config: TrainConfig, quiet: bool) -> tuple[dict, tuple[str, ...]]:
    """Train as ``config`` says; the result, and the names of the classes.

    ``quiet``: do not show what the driver says. Raises ``UsageError`` before a cluster is started for
    what can be seen from here.
    """
    if config.runner != "emr":
        raise UsageError(f"--driver-on-cluster: needs -r emr, found -r {config.runner}")
    config.check()
    for option, value in (("--data", config.data), ("--out", config.out),
                          ("--warm-start", config.warm_start)):
        if value and not is_uri(value):
            raise UsageError(f"{option} {value}: must be a URI such as s3://BUCKET/FOLDER with "
                             "--driver-on-cluster, since the driver is not on this machine")
    arguments = job_arguments("emr", config.runner_options, config.verbose)
    dataset = open_dataset(config.data)
    parts = Parts(config, dataset)
    _ = parts.identity  # errors are cheaper here
    TrainingFolder(config.out, config.restart).close()
    files, model = {}, config.model
    if parts.code and parts.code.path:
        files[parts.code.module] = parts.code.source
        model = parts.code.name
    there = asdict(replace(config, layers=parts.layers, model=model))
    words = ["train", "--config", _CONFIG, "-r", "hadoop", "-c", "mrjob.conf", "--json", "--progress",
             "lines"]
    if "--no-node-cache" in config.runner_options:
        words.append("--no-node-cache")
    files[_CONFIG] = json.dumps({name: value for name, value in there.items()
                                 if name not in _HERE_ONLY and value not in (None, (), {})}).encode()
    from mr_gradient.jobs.engines.emr_driver import run_driver

    def show(line: str) -> None:
        if not quiet:
            print(line, file=sys.stderr, flush=True)

    name = hashlib.sha256(json.dumps([config.out, config.data]).encode()).hexdigest()[:12]
    with launcher(arguments, run=name) as jobs:
        return run_driver(jobs.engine, files, words, show), dataset.schema.classes
