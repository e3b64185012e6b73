"""One training for ``peers.py``, in a process of its own: prints its figures as JSON.

    python benchmarks/peer_solvers.py SOLVER PROBLEM FOLDER TARGET OPTIONS

Every solver stops as soon as it has evaluated the objective at or below TARGET, and reports the
seconds from the start of its training to there, and how many evaluations that took.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from peer_problems import PROBLEMS, Problem, load

#: Rows that a thread of the bare gradient takes at a time, of dense data.
_BYTES = 4 << 20


class Reached(Exception):  # noqa: N818  it stops a solver and is no error
    """The target was reached."""


class Clock:
    """Counts evaluations; raises ``Reached`` at the first one that is good enough."""

    def __init__(self, target: float) -> None:
        self.target, self.evaluations, self.best = target, 0, np.inf
        self._started = time.perf_counter()

    def see(self, objective: float) -> None:
        self.evaluations += 1
        self.best = min(self.best, float(objective))
        if objective <= self.target:
            raise Reached

    def figures(self) -> dict:
        return {"seconds": time.perf_counter() - self._started, "passes": self.evaluations,
                "objective": self.best}


class Bare:
    """The objective and its gradient in numpy: two threads, each on half of the rows.

    The parameters are a flat float64 vector, weight (outputs, features) then bias, as scipy wants it;
    the products are in float32.
    """

    def __init__(self, problem: Problem, folder: str) -> None:
        self.x, self.y = load(folder)
        self.l2, self.features = problem.l2, self.x.shape[1]
        self.outputs = int(self.y.max()) + 1 if problem.model == "softmax" else 1
        self.rows = len(self.y)
        self.dense = isinstance(self.x, np.ndarray)
        step = max(512, _BYTES // (4 * self.features)) if self.dense else -(-self.rows // 2)
        self._parts = []
        for lo in range(0, self.rows, step):
            x, y = self.x[lo:lo + step], self.y[lo:lo + step]
            # The transpose is stored, as CSR: scipy's product with a view of it is slower.
            self._parts.append((x, x.T if self.dense else x.T.tocsr(), y))
        self._threads = ThreadPoolExecutor(2)

    @property
    def size(self) -> int:
        return self.outputs * (self.features + 1)

    def __call__(self, flat: np.ndarray) -> tuple[float, np.ndarray]:
        """Objective, and gradient (size,)."""
        loss, gradient, _ = self._sums(flat, False)
        penalized = flat[:-self.outputs]
        gradient[:-self.outputs] += self.l2 * penalized
        return loss + self.l2 / 2 * float(penalized @ penalized), gradient

    def hessian(self, flat: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """With the second derivative (size, size); for one output."""
        loss, gradient, hessian = self._sums(flat, True)
        gradient[:-1] += self.l2 * flat[:-1]
        hessian[np.arange(self.features), np.arange(self.features)] += self.l2
        return loss + self.l2 / 2 * float(flat[:-1] @ flat[:-1]), gradient, hessian

    def _sums(self, flat: np.ndarray, hessian: bool) -> tuple:
        weight = flat[:-self.outputs].reshape(self.outputs, -1).astype(np.float32)
        bias = flat[-self.outputs:].astype(np.float32)
        of_part = self._binary if self.outputs == 1 else self._softmax
        half = -(-len(self._parts) // 2)

        def run(parts: list) -> list:
            total = None
            for part in parts:
                found = of_part(part, weight, bias, hessian)
                total = found if total is None else [a + b for a, b in zip(total, found)]
            return total

        found = list(self._threads.map(run, (self._parts[:half], self._parts[half:])))
        loss, of_weight, of_bias, square = (a + b for a, b in zip(*found))
        gradient = np.concatenate([np.ravel(of_weight), np.ravel(of_bias)]).astype(np.float64)
        return loss / self.rows, gradient / self.rows, square / self.rows

    def _binary(self, part: tuple, weight: np.ndarray, bias: np.ndarray, hessian: bool) -> list:
        x, transposed, y = part
        z = x @ weight[0] + bias[0]
        sign = 1 - 2 * y.astype(np.float32)
        e = np.exp(np.minimum(sign * z, 80))
        loss, dz = float(np.log1p(e).sum(dtype=np.float64)), sign * (e / (1 + e))
        of_weight = dz @ x if self.dense else transposed @ dz
        if not hessian:
            return [loss, of_weight, dz.sum(dtype=np.float64), 0.0]
        d = e / np.square(1 + e)
        root = x * np.sqrt(d)[:, None]
        square = np.empty((self.size, self.size))
        square[:-1, :-1] = root.T @ root
        square[-1, :-1] = square[:-1, -1] = d @ x
        square[-1, -1] = d.sum(dtype=np.float64)
        return [loss, of_weight, dz.sum(dtype=np.float64), square]

    def _softmax(self, part: tuple, weight: np.ndarray, bias: np.ndarray, _: bool) -> list:
        x, _, y = part
        rows = np.arange(len(y))
        t = np.ascontiguousarray((x @ np.ascontiguousarray(weight.T) + bias).T)
        t -= t.max(axis=0)
        chosen = t[y, rows]
        np.exp(t, out=t)
        total = t.sum(axis=0)
        t /= total
        t[y, rows] -= 1
        return [float((np.log(total) - chosen).sum(dtype=np.float64)), t @ x, t.sum(axis=1), 0.0]

    def change(self, kind: str) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Mean of the features and scale of the parameters, each where ``kind`` asks for it."""
        if kind == "centred":
            return self.x.mean(axis=0, dtype=np.float64), None
        if kind == "scaled":
            square = self.x.multiply(self.x) if not self.dense else np.square(self.x)
            mean = np.asarray(square.sum(axis=0, dtype=np.float64)).ravel() / self.rows
            return None, np.append(1 / np.sqrt(mean / 4 + self.l2), 1.0)
        return None, None


def minimize(bare: Bare, kind: str, see: Callable[[float], None], **options: float) -> np.ndarray:
    """scipy's L-BFGS-B over the variables of ``kind``; returns the parameters."""
    from scipy.optimize import minimize as lbfgs

    mean, scale = bare.change(kind)
    k = bare.outputs

    def to_model(variables: np.ndarray) -> np.ndarray:
        flat = variables.copy() if scale is None else variables * scale
        if mean is not None:
            flat[-k:] -= flat[:-k].reshape(k, -1) @ mean
        return flat

    def evaluate(variables: np.ndarray) -> tuple[float, np.ndarray]:
        objective, gradient = bare(to_model(variables))
        see(objective)
        if mean is not None:
            gradient[:-k] -= np.outer(gradient[-k:], mean).ravel()
        return objective, gradient if scale is None else gradient * scale

    found = lbfgs(evaluate, np.zeros(bare.size), jac=True, method="L-BFGS-B",
                  options={"maxcor": 20, "maxiter": 10_000, "maxfun": 20_000, "ftol": 0, "gtol": 0,
                           **options})
    return to_model(found.x)


def newton(bare: Bare, see: Callable[[float], None]) -> None:
    flat = np.zeros(bare.size)
    while True:
        objective, gradient, hessian = bare.hessian(flat)
        see(objective)
        flat = flat - np.linalg.solve(hessian, gradient)


def scikit_learn(problem: Problem, folder: str, solver: str, target: float,
                 centred: bool = False) -> dict:
    """LogisticRegression, watched through the functions that give its solvers the objective."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.linear_model._linear_loss import LinearModelLoss

    x, y = load(folder)
    if centred:
        x -= x.mean(axis=0)
    clock: Clock

    def watched(function: Callable) -> Callable:
        def call(*arguments: object, **options: object) -> object:
            result = function(*arguments, **options)
            clock.see(result[0] if isinstance(result, tuple) else result)
            return result
        return call

    for name in ("loss", "loss_gradient"):
        setattr(LinearModelLoss, name, watched(getattr(LinearModelLoss, name)))
    model = LogisticRegression(C=1 / (problem.l2 * len(y)), solver=solver, tol=1e-10, max_iter=100_000)
    clock = Clock(target)
    with contextlib.suppress(Reached):
        model.fit(x, y)
    return clock.figures()


def bare(problem: Problem, folder: str, kind: str, target: float) -> dict:
    """scipy's L-BFGS-B over the bare gradient, or Newton's method; ``target`` 0 runs to the end."""
    objective = Bare(problem, folder)
    clock = Clock(target)
    with contextlib.suppress(Reached):
        if kind == "newton":
            newton(objective, clock.see)
        else:
            minimize(objective, kind, clock.see, **({} if target else {"ftol": 1e-9}))
    return clock.figures()


def ours(problem: Problem, folder: str, options: dict, target: float) -> dict:
    """A training of ``iterations``, which is what the target takes; 0 to find out, and stop there."""
    import mr_gradient.jobs  # noqa: F401  one BLAS thread

    # isort: split
    from mr_gradient import checkpoint, optimizers
    from mr_gradient.config import TrainConfig
    from mr_gradient.progress import Silent
    from mr_gradient.training import train

    out, iterations, clock = os.path.join(folder, "model"), options.pop("iterations"), Clock(target)
    trials = {name: options.pop(name) for name in ("first", "trials") if name in options}
    search = optimizers.search
    optimizers.search = lambda name, found: search(name, {**found, **trials})
    shown, reached = Silent(), {}

    def iteration(line: dict) -> None:
        try:
            clock.see(line["objective"])
        except Reached:
            reached.update(clock.figures(), iterations=line["iteration"])
            if not iterations:
                raise

    shown.iteration = iteration
    with contextlib.suppress(Reached):
        result = train(TrainConfig(os.path.join(folder, "data"), out, problem.model, l2=problem.l2,
                                   iterations=iterations or 10_000, restart=True,
                                   runner_options=["--num-cores", "2"], **options),
                       lambda total, done: shown)
        last = checkpoint.load(out, reached["iterations"]).optimizer
        reached |= {"passes": result["jobs"] - 1, "accepted": int(last["progress.accepted"])}
    shutil.rmtree(out)
    return reached


def our_epochs(folder: str, epochs: int) -> list[float]:
    """Seconds of each epoch of a 784-512-256-10 network, batches of 256, on two splits."""
    import mr_gradient.jobs  # noqa: F401  one BLAS thread

    # isort: split
    from mr_gradient.config import TrainConfig
    from mr_gradient.progress import Silent
    from mr_gradient.training import train

    seconds, shown, out = [], Silent(), os.path.join(folder, "model")
    shown.iteration = lambda line: seconds.append(line["seconds"])
    train(TrainConfig(os.path.join(folder, "two"), out, "mlp", strategy="local-sgd",
                      optimizer="momentum", learning_rate=0.05, momentum=0.9, batch_size=256,
                      hidden=(512, 256), iterations=epochs, restart=True,
                      runner_options=["--num-cores", "2"]),
          lambda total, done: shown)
    shutil.rmtree(out)
    return seconds


def scikit_learn_epochs(folder: str, epochs: int) -> list[float]:
    """The same network by MLPClassifier."""
    from sklearn.neural_network import MLPClassifier

    x, y = load(folder)
    model = MLPClassifier((512, 256), solver="sgd", batch_size=256, learning_rate_init=0.05,
                          momentum=0.9, nesterovs_momentum=False, alpha=0, max_iter=1)
    seconds = []
    for _ in range(epochs):
        started = time.perf_counter()
        model.partial_fit(x, y, classes=np.arange(10))
        seconds.append(time.perf_counter() - started)
    return seconds


def main() -> None:
    solver, name, folder, target, options = sys.argv[1:]
    problem, given = PROBLEMS[name], json.loads(options)
    result = {"ours": lambda: ours(problem, folder, given, float(target)),
              "bare": lambda: bare(problem, folder, given["kind"], float(target)),
              "scikit-learn": lambda: scikit_learn(problem, folder, **given, target=float(target)),
              "our epochs": lambda: our_epochs(folder, **given),
              "scikit-learn epochs": lambda: scikit_learn_epochs(folder, **given)}[solver]()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
