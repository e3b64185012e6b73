"""A model of the user's own, as a description that can be sent and saved, with its code beside it."""

from __future__ import annotations

import json
import traceback
from dataclasses import InitVar, dataclass, field
from typing import Any

import numpy as np

from mr_gradient.errors import ModelError, UsageError
from mr_gradient.models.base import Tensor
from mr_gradient.models.guard import Guard
from mr_gradient.models.source_code import Code, load


@dataclass(frozen=True)
class Custom:
    """What the factory makes of ``features``, ``kind``, ``classes`` (0 for values) and
    ``model_options``.

    ``factory`` and ``sha256`` name the code. They are compared with the code that the user named,
    and tell a person what to name; nothing is loaded by them.
    """

    features: int
    kind: str
    classes: int
    model_options: dict[str, Any]
    code: InitVar[Code]
    factory: str = field(init=False)
    sha256: str = field(init=False)

    def __post_init__(self, code: Code) -> None:
        """Raises ``ModelError`` if the code cannot be loaded, or makes no model."""
        for name, value in (("factory", code.name), ("sha256", code.sha256), ("own_code", code)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "guard", Guard(self._make(code), code.name, self.kind, self.classes))
        self.tensors()

    def _make(self, code: Code) -> Any:
        try:
            json.dumps(self.model_options, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise UsageError(f"--model-options: must be plain data, as JSON has it: {error}") from None
        factory = load(code)
        arguments = {"features": self.features, "kind": self.kind, "classes": self.classes}
        if clash := sorted(set(arguments) & set(self.model_options)):
            raise UsageError(f"--model-options: {clash[0]} comes from the data set; leave it out")
        try:
            return factory(**arguments, **self.model_options)
        except Exception as error:
            given = ", ".join(f"{name}={value!r}" for name, value in {**arguments,
                                                                      **self.model_options}.items())
            raise ModelError(f"model {code.name}: {code.function}({given}) failed: "
                             f"{type(error).__name__}: {error}", traceback.format_exc()) from None

    @property
    def loss(self) -> str:
        """A loss of ``losses`` whose predictions mean the same: probabilities, or values."""
        return "softmax" if self.kind == "class" else "squared"

    @property
    def outputs(self) -> int:
        """Numbers that it predicts for an example."""
        return max(1, self.classes)

    def tensors(self) -> dict[str, Tensor]:
        return self.guard.tensors()

    def init(self, seed: int) -> dict[str, np.ndarray]:
        return self.guard.init(seed)

    def accumulate(self, parameters: dict[str, np.ndarray], x: np.ndarray, y: np.ndarray,
                   weight: np.ndarray | None, gradient: dict[str, np.ndarray] | None,
                   generator: np.random.Generator | None = None) -> dict[str, float]:
        return self.guard.accumulate(parameters, x, y, weight, gradient, generator)

    def predict(self, parameters: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
        return self.guard.predict(parameters, x)


def check_code(factory: str, sha256: str, code: Code | None) -> None:
    """Raises ``ModelError`` unless ``code`` is what made a model that was sent or saved."""
    if code is None:
        raise ModelError(f"model {factory}: is a model of your own, and its code was not named")
    if code.function != factory.rpartition(":")[2] or code.sha256 != sha256:
        raise ModelError(f"model {factory}: must have SHA-256 {sha256[:12]}, found {code.name} with "
                         f"{code.sha256[:12]}; the same file must be on every machine")
