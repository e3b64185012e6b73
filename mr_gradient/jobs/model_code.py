"""How the code of a user's own model reaches the tasks: as arguments of the job (law 6).

A single file is copied into the driver's scratch folder, so that an edit during the training changes
nothing, and mrjob puts the copy into the folder of every task.
"""

from __future__ import annotations

import os
from argparse import Namespace
from dataclasses import replace

from mrjob.job import MRJob

from mr_gradient import storage
from mr_gradient.models import source_code
from mr_gradient.models.source_code import Code


def add_options(job: MRJob) -> None:
    """Options of a job whose tasks may need a model's code."""
    job.add_file_arg("--model-file", help="Python file of a model of your own")
    job.add_passthru_arg("--model-factory", help="what makes a model of your own, MODULE:FUNCTION")


#: Where argparse puts them.
OPTIONS = ("model_file", "model_factory")


def arguments(code: Code | None, scratch: str) -> list[str]:
    """Arguments of a job that ship the code; none for the models of this project."""
    if code is None:
        return []
    if not code.path:
        return ["--model-factory", code.name]
    copy = os.path.join(scratch, source_code.SHIPPED)
    storage.write_atomically(copy, [code.source], sync=False)
    return ["--model-file", copy, "--model-factory", code.name]


def of_task(options: Namespace) -> Code | None:
    """In a task: what the driver named, not yet loaded."""
    if not options.model_factory:
        return None
    if not options.model_file:
        return source_code.find(options.model_factory, "--model-factory")
    module, _, function = options.model_factory.rpartition(":")
    found = source_code.find(f"{options.model_file}:{function}", "--model-file")
    return replace(found, module=module)
