"""Linear models: z = x W^T + b under the losses of ``losses``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mr_gradient.models.base import Tensor
from mr_gradient.models.losses import probabilities, with_options
from mr_gradient.models.second_derivatives import second_derivative, softmax_second_derivative

#: Row by row, the product waits less for memory than BLAS's gemv; numpy 1 has only the latter.
_vecdot = getattr(np, "vecdot", np.matmul)


def _is_wide(x: np.ndarray) -> bool:
    """Whether a sparse chunk has few numbers for its columns.

    Then the passes over all columns cost most, and they are cheaper output by output: 20 of 2**20
    columns took 37 ms where the product of matrices took 102. Otherwise it is 3 times as fast.
    """
    return not isinstance(x, np.ndarray) and x.nnz < 4 * x.shape[1]


def _add_block(hessian: np.ndarray, x: np.ndarray, d: np.ndarray, rows: slice, row: int,
               columns: slice, column: int) -> None:
    """Add [x, 1]^T diag(d) [x, 1] where one output's parameters meet another's."""
    if not isinstance(x, np.ndarray):
        product = (x.T @ x.multiply(d[:, None])).toarray()
    elif rows == columns:
        z = x * np.sqrt(d)[:, None]
        product = z.T @ z  # BLAS computes half of a product with itself
    else:
        product = x.T @ (x * d[:, None])
    hessian[rows, columns] += product
    product = d @ x
    hessian[row, columns] += product
    if row != column:
        hessian[column, rows] += product
    hessian[row, column] += d.sum(dtype=np.float64)


@dataclass(frozen=True)
class Linear:
    """``weight`` (outputs, features) and ``bias`` (outputs,), which is not penalized.

    gradient sums: dW = dz^T x, db = sum of dz over examples, dz (n, outputs) from the loss.
    """

    features: int
    outputs: int = 1
    loss: str = "squared"
    huber_delta: float = 1.0

    def tensors(self) -> dict[str, Tensor]:
        return {"weight": Tensor((self.outputs, self.features)),
                "bias": Tensor((self.outputs,), penalized=False)}

    def init(self, seed: int) -> dict[str, np.ndarray]:
        """Zeros: the losses are convex."""
        return {name: np.zeros(tensor.shape) for name, tensor in self.tensors().items()}

    def _outputs(self, parameters: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
        """z (n, outputs)."""
        if self.outputs == 1:
            vector = parameters["weight"][0]
            z = _vecdot(x, vector) if isinstance(x, np.ndarray) else x @ vector
            z += parameters["bias"]
            return z[:, None]
        # (features, outputs) in memory: x @ weight.T on the view took 1.7 times as long.
        z = x @ np.ascontiguousarray(parameters["weight"].T)
        z += parameters["bias"]
        return z

    def accumulate(self, parameters: dict[str, np.ndarray], x: np.ndarray, y: np.ndarray,
                   weight: np.ndarray | None, gradient: dict[str, np.ndarray] | None,
                   generator: np.random.Generator | None = None) -> dict[str, float]:
        sums, dz = with_options(self.loss, self.huber_delta)(
            self._outputs(parameters, x), y, weight, gradient is not None)
        if gradient is not None:
            # With one output, vector times matrix: a product of matrices took 3 times as long.
            dz = dz[:, 0] if self.outputs == 1 else dz.T
            if _is_wide(x) and self.outputs > 1:
                for row, of_output in zip(gradient["weight"], dz):
                    row += of_output @ x
            else:
                gradient["weight"] += dz @ x
            gradient["bias"] += np.add.reduce(dz, axis=-1)
        return sums

    def add_hessian(self, parameters: dict[str, np.ndarray], x: np.ndarray, y: np.ndarray,
                    weight: np.ndarray | None, hessian: np.ndarray) -> None:
        """Add the second derivative of the weighted loss sum to ``hessian`` (size, size) float64.

        Of the flat parameters, weight then bias: X^T diag(d) X over [x, 1], a block for each pair of
        outputs. Only the lower triangle need be right.
        """
        z = self._outputs(parameters, x)
        if self.outputs == 1:
            d = second_derivative(self.loss, z, y, weight, self.huber_delta)
            _add_block(hessian, x, d, *(slice(0, self.features), self.features) * 2)
            return
        p = probabilities(self.loss, z)
        for i in range(self.outputs):
            for j in range(i + 1):
                d = softmax_second_derivative(p, i, j, weight)
                _add_block(hessian, x, d, *self._place(i), *self._place(j))

    def _place(self, output: int) -> tuple[slice, int]:
        """Where the weights and the bias of an output lie in the flat parameters."""
        start = output * self.features
        return slice(start, start + self.features), self.outputs * self.features + output

    def predict(self, parameters: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
        return probabilities(self.loss, self._outputs(parameters, x))
