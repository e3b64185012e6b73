"""What a training must know of its data before it begins: sums over it, by one job."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from mr_gradient.dataset.schema import Dataset
from mr_gradient.errors import UsageError
from mr_gradient.jobs.broadcast import settings_for
from mr_gradient.jobs.launch import Launcher
from mr_gradient.jobs.manifest import make_splits
from mr_gradient.models.base import layout
from mr_gradient.models.data_sums import DataSums
from mr_gradient.optimizers.change_of_variables import ChangeOfVariables, hessian_scale
from mr_gradient.strategies.passes import Passes

#: Bounds of the losses' second derivatives by the output; of Poisson's at a rate of 1.
_CURVATURE = {"squared": 1.0, "huber": 1.0, "poisson": 1.0, "logistic": 0.25, "softmax": 0.25,
              "squared_hinge": 2.0}


class DataLook:
    """Of the training part; the job runs when its sums are first needed."""

    def __init__(self, jobs: Launcher, dataset: Dataset, precision: str, rows_per_split: int) -> None:
        self._jobs, self._dataset, self._precision = jobs, dataset, precision
        self._rows_per_split = rows_per_split

    @cached_property
    def _sums(self) -> tuple[dict[str, np.ndarray], float]:
        """Those of ``DataSums``, and the sum of the weights."""
        schema = self._dataset.schema
        model = DataSums(schema.width, len(schema.classes))
        where = layout(model)
        splits = [split for split in make_splits(self._dataset, rows_per_split=self._rows_per_split)
                  if split.gradient]
        found = Passes(self._jobs, splits, where).run(
            settings_for(model, schema, self._precision), [np.zeros(where.size, self._precision)])
        return where.views(found.points[0].gradient), found.points[0].metrics["train"]["weight"]

    def class_weights(self) -> tuple[float, ...]:
        """total / (classes * weight of the class), as scikit-learn's ``balanced``."""
        if self._dataset.schema.kind != "class":
            raise UsageError("--class-weight balanced: the target must be of classes")
        counts = self._sums[0]["counts"].astype(np.float64)
        # A class without examples has no use for its weight.
        return tuple((counts.sum() / (len(counts) * np.where(counts > 0, counts, 1))).tolist())

    def change(self, kind: str, loss: str, l2: float) -> ChangeOfVariables | None:
        """The change of variables ``kind``, of ``config.PRECONDITIONS`` but for ``auto``."""
        if kind == "none":
            return None
        tensors, weight = self._sums
        mean = tensors["sum"].astype(np.float64) / weight if kind in ("center", "both") else None
        scale = None
        if kind in ("scale", "both"):
            scale = hessian_scale(tensors["squares"].astype(np.float64) / weight, _CURVATURE[loss],
                                  l2, mean)
        return ChangeOfVariables(mean, scale)
