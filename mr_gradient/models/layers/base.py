"""What a layer is: a frozen description, and a pass forward and back over a workspace.

Shapes of one example are ``(numbers,)``, or ``(channels, height, width)`` as in PyTorch. Inside the
network images lie with the channels last, (n, height, width, channels): a kernel's row of an image
is then one run of memory, and every product and sum works on long rows (benchmarks/convolution.py).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import MISSING, fields
from math import prod, sqrt
from typing import Any, ClassVar

import numpy as np

from mr_gradient.errors import UsageError
from mr_gradient.models.base import Tensor

#: Shape of one example, without the number of examples.
Shape = tuple[int, ...]


class Workspace:
    """What one layer holds while examples go through it, and buffers that the next ones use again.

    ``parameters``, ``gradient``: the layer's own tensors by their local names; ``gradient`` is None
    where none is wanted. ``generator`` draws dropout's masks, None for no dropout. ``kept`` is what
    forward leaves for backward.
    """

    def __init__(self, dtype: np.dtype) -> None:
        self.dtype = dtype
        self.parameters: dict[str, np.ndarray] = {}
        self.gradient: dict[str, np.ndarray] | None = None
        self.generator: np.random.Generator | None = None
        self.kept: Any = None
        self._buffers: dict[str, np.ndarray] = {}
        self._inner: dict[str, Workspace] = {}

    def array(self, role: str, shape: Shape, dtype: type | None = None,
              zeros: bool = False) -> np.ndarray:
        """The buffer ``role``, with whatever it held before; ``zeros`` only for a new one.

        A role has one type, and one shape but for the first axis, so that the examples of a
        smaller array lie where those of a larger one did: borders that were zero stay zero.
        """
        size = prod(shape)
        buffer = self._buffers.get(role)
        if buffer is None or buffer.size < size:
            make = np.zeros if zeros else np.empty
            buffer = self._buffers[role] = make(size, dtype or self.dtype)
        return buffer[:size].reshape(shape)

    def inner(self, name: str) -> Workspace:
        """The workspace of a layer inside this one."""
        if name not in self._inner:
            self._inner[name] = Workspace(self.dtype)
        return self._inner[name]

    def release(self) -> None:
        """Forget all but the buffers: nothing of the caller's stays alive, or is taken for new."""
        self.parameters, self.gradient, self.generator, self.kept = {}, None, None, None
        for workspace in self._inner.values():
            workspace.release()


class Layer(ABC):
    """A frozen dataclass of options; everything that changes is in the workspace.

    Of the options, the first can be given alone: ``{dense: 120}`` is ``{dense: {out: 120}}``.
    """

    #: Name in a layer list.
    name: ClassVar[str]
    #: Backward reads what forward returned, so the next layer must not write over it.
    keeps_output: ClassVar[bool] = False
    #: Forward may return its input or a view of it, for which the same holds as for the input.
    may_return_input: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for each in fields(self):
            kind, found = each.metadata["option"], getattr(self, each.name)
            value = kind.read(found)
            if value is None:
                raise UsageError(f"{self.name}: {each.name} must be {kind.must}; found {found!r:.60}")
            object.__setattr__(self, each.name, value)

    @classmethod
    def needed(cls) -> dict[str, str]:
        """Options without a default, and what they must be."""
        return {each.name: each.metadata["option"].must for each in fields(cls)
                if each.default is MISSING}

    def output_shape(self, shape: Shape) -> Shape:
        """Shape of an output for inputs of ``shape``. Raises ``UsageError`` where it does not fit."""
        return shape

    def tensors(self, shape: Shape) -> dict[str, Tensor]:
        """The parameters for inputs of ``shape``, named and laid out as in ``torch.nn``."""
        return {}

    def initial(self, name: str, shape: Shape, draw: Callable[[], np.random.Generator],
                saturating: bool) -> np.ndarray:
        """First value of a tensor, in float64; ``saturating``: a tanh or sigmoid comes next.

        Weights from N(0, 2 / inputs) (He et al. 2015, equation 10), before a tanh or sigmoid from
        N(0, 2 / (inputs + outputs)) (Glorot and Bengio 2010, equation 12); biases zero.
        """
        if name != "weight":
            return np.zeros(shape)
        inputs, outputs = prod(shape[1:]), shape[0] * prod(shape[2:])
        return draw().normal(0, sqrt(2 / (inputs + outputs * saturating)), shape)

    def prepare(self, workspace: Workspace, shape: Shape) -> None:  # noqa: B027  few layers need it
        """Before the first examples of a call: bring the parameters into the form that is fast."""

    @abstractmethod
    def forward(self, x: np.ndarray, workspace: Workspace, overwrite: bool) -> np.ndarray:
        """Outputs (n, ...) for inputs ``x`` (n, ...), which may be written over if ``overwrite``."""

    @abstractmethod
    def backward(self, dy: np.ndarray, workspace: Workspace, wanted: bool) -> np.ndarray | None:
        """Add to the gradient; the gradient of the loss sum by the inputs, if ``wanted``.

        ``dy`` (n, ...) is the gradient by the outputs, and may be written over.
        """

    def finish(self, workspace: Workspace) -> None:  # noqa: B027  likewise
        """After the last examples of a call: add to the gradient what waited for it."""


def channels_of(shape: Shape) -> tuple[int, int, int]:
    """(channels, height, width). Raises ``UsageError`` for a shape that is none of images."""
    if len(shape) != 3:
        raise UsageError(f"needs images (channels, height, width); found {described(shape)}; "
                         "give input_shape, and flatten only after the last layer of this kind")
    return shape


def described(shape: Shape) -> str:
    """A shape as messages show it."""
    return f"{shape[0]} numbers" if len(shape) == 1 else "images of " + " x ".join(map(str, shape))
