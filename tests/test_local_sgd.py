"""Strategy local-sgd against an independent rewrite: minibatch SGD for each split, then averages."""

from __future__ import annotations

import json

import numpy as np
import pytest
from trainings import class_data, run

from mr_gradient import model_folder
from mr_gradient.dataset.shards import open_shard
from mr_gradient.dataset.writer import write_arrays

pytestmark = pytest.mark.fast

SHUFFLE = 2


def shards(data) -> list[tuple]:
    """x (n, features), y (n,) and weight (n,) of each training shard, in float64."""
    opened = [open_shard(f"{data.folder}/{shard.path}") for shard in data.train]
    return [(np.array(each.x, np.float64), np.array(each.y, np.int64),
             np.ones(len(each.y)) if each.weight is None else np.array(each.weight))
            for each in opened]


def softmax_gradient(theta: np.ndarray, x: np.ndarray, y: np.ndarray, weight: np.ndarray,
                     l2: float) -> np.ndarray:
    """Of the weighted mean loss + l2/2 |W|^2; theta (classes, features + 1), the bias last."""
    z = x @ theta[:, :-1].T + theta[:, -1]
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p[np.arange(len(y)), y] -= 1
    p *= weight[:, None] / weight.sum()
    return np.column_stack([p.T @ x + l2 * theta[:, :-1], p.sum(axis=0)])


class Momentum:
    """v <- beta v + g; theta <- theta - eta v. With beta = 0 this is plain SGD."""

    def __init__(self, eta: float, beta: float) -> None:
        self.eta, self.beta = eta, beta

    def begin(self, theta: np.ndarray) -> dict:
        return {"v": np.zeros_like(theta)}

    def update(self, theta: np.ndarray, g: np.ndarray, state: dict, t: int) -> tuple:
        v = self.beta * state["v"] + g
        return theta - self.eta * v, {"v": v}


class Adam:
    """Kingma and Ba 2015, algorithm 1; t counts from 1."""

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha

    def begin(self, theta: np.ndarray) -> dict:
        return {"m": np.zeros_like(theta), "v": np.zeros_like(theta)}

    def update(self, theta: np.ndarray, g: np.ndarray, state: dict, t: int) -> tuple:
        m = 0.9 * state["m"] + 0.1 * g
        v = 0.999 * state["v"] + 0.001 * g * g
        step = m / (1 - 0.9 ** t) / (np.sqrt(v / (1 - 0.999 ** t)) + 1e-8)
        return theta - self.alpha * step, {"m": m, "v": v}


def batches(rows: int, size: int, epochs: int, steps: int, key: list[int]):
    """Row numbers of each update: a permutation for each epoch, cut up."""
    generator = np.random.default_rng(np.random.SeedSequence(key))
    made, epoch = 0, 0
    while rows and (made < steps if steps else epoch < epochs):
        order = generator.permutation(rows)
        for start in range(0, rows, size):
            if steps and made == steps:
                return
            yield order[start:start + size]
            made += 1
        epoch += 1


def rewrite(parts: list[tuple], optimizer, rounds: int, size: int, epochs: int, steps: int, l2: float,
            seed: int) -> np.ndarray:
    """Stich 2019, algorithm 1, with replicas weighted by their examples, state and all."""
    theta = np.zeros((3, parts[0][0].shape[1] + 1))
    state, t, n = optimizer.begin(theta), 0, sum(len(y) for _, y, _ in parts)
    for iteration in range(1, rounds + 1):
        replicas, counts = [], []
        for number, (x, y, weight) in enumerate(parts):
            mine, of_mine, count = theta, state, 0
            for rows in batches(len(y), size, epochs, steps, [seed, iteration, number, SHUFFLE]):
                g = softmax_gradient(mine, x[rows], y[rows], weight[rows], l2)
                count += 1
                mine, of_mine = optimizer.update(mine, g, of_mine, t + count)
            replicas.append((len(y) / n, mine, of_mine))
            counts.append(count)
        theta = sum(share * mine for share, mine, _ in replicas)
        state = {name: sum(share * of_mine[name] for share, _, of_mine in replicas) for name in state}
        t += max(counts)
    return theta


def trained(out) -> np.ndarray:
    found = model_folder.load(str(out)).parameters
    return np.column_stack([found["weight"], found["bias"]])


OPTIMIZERS = {
    "gd": (Momentum(0.1, 0), {"learning_rate": 0.1}),
    "momentum": (Momentum(0.05, 0.9), {"learning_rate": 0.05}),
    "adam": (Adam(0.01), {"learning_rate": 0.01}),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("how", [{"local_epochs": 2}, {"local_steps": 7}])
def test_it_is_minibatch_sgd_in_each_split_and_then_an_average(tmp_path, name, count, how):
    """With one split nothing is averaged: plain minibatch SGD."""
    data = class_data(tmp_path / "data", rows=130, shards=count, weighted=True)
    optimizer, options = OPTIMIZERS[name]
    run(data, tmp_path / "model", 4, model="softmax", strategy="local-sgd", optimizer=name,
        batch_size=16, l2=0.01, precision="float64", seed=9, **options, **how)
    expected = rewrite(shards(data), optimizer, 4, 16, how.get("local_epochs", 0),
                       how.get("local_steps", 0), 0.01, 9)
    np.testing.assert_allclose(trained(tmp_path / "model"), expected, rtol=1e-10, atol=1e-13)


def test_splits_of_unlike_size_and_without_rows_weigh_by_their_examples(tmp_path):
    data = class_data(tmp_path / "data", rows=80, shards=1)
    run(data, tmp_path / "model", 3, model="softmax", strategy="local-sgd", optimizer="momentum",
        learning_rate=0.05, batch_size=16, rows_per_split=50, precision="float64")
    (x, y, weight), = shards(data)
    parts = [(x[:50], y[:50], weight[:50]), (x[50:], y[50:], weight[50:])]
    expected = rewrite(parts, Momentum(0.05, 0.9), 3, 16, 1, 0, 0.0, 0)
    np.testing.assert_allclose(trained(tmp_path / "model"), expected, rtol=1e-10, atol=1e-13)

    few = write_arrays(str(tmp_path / "few"), x[:3], y[:3].astype(np.uint8), shards=5,
                       classes=("a", "b", "c"))
    assert [shard.rows for shard in few.train].count(0) == 2
    run(few, tmp_path / "few model", 3, model="softmax", strategy="local-sgd", optimizer="momentum",
        learning_rate=0.05, batch_size=16, precision="float64")
    expected = rewrite(shards(few), Momentum(0.05, 0.9), 3, 16, 1, 0, 0.0, 0)
    np.testing.assert_allclose(trained(tmp_path / "few model"), expected, rtol=1e-10, atol=1e-13)


def test_class_weights_multiply_the_weights_of_each_minibatch(tmp_path):
    data = class_data(tmp_path / "data", rows=130, shards=2, weighted=True)
    run(data, tmp_path / "model", 3, model="softmax", strategy="local-sgd", optimizer="gd",
        learning_rate=0.1, batch_size=16, class_weight="balanced", precision="float64")
    parts = shards(data)
    sums = sum(np.bincount(y, weight, 3) for _, y, weight in parts)
    parts = [(x, y, weight * (sums.sum() / (3 * sums))[y]) for x, y, weight in parts]
    expected = rewrite(parts, Momentum(0.1, 0), 3, 16, 1, 0, 0.0, 0)
    np.testing.assert_allclose(trained(tmp_path / "model"), expected, rtol=1e-10, atol=1e-13)


def test_a_schedule_counts_the_updates_of_the_longest_split(tmp_path):
    """Of 8 updates an iteration, all after the 12th are made at a rate of nearly nothing."""
    data = class_data(tmp_path / "data", rows=80, shards=2)
    ended = {}
    for iterations in (1, 2, 3):
        out = tmp_path / str(iterations)
        run(data, out, iterations, model="softmax", strategy="local-sgd", optimizer="gd",
            learning_rate=0.1, batch_size=4, schedule="step", schedule_iterations=12,
            schedule_drop=1e-12)
        ended[iterations] = trained(out)
    assert np.abs(ended[2] - ended[1]).max() > 1e-3
    np.testing.assert_allclose(ended[3], ended[2], atol=1e-6)


def test_metrics_are_running_means_in_training_and_of_the_start_on_held_out(tmp_path):
    data = class_data(tmp_path / "data", rows=200, shards=2)
    run(data, tmp_path / "model", 2, model="softmax", strategy="local-sgd", optimizer="gd",
        learning_rate=0.1, batch_size=16)
    first, second = map(json.loads, (tmp_path / "model/history.jsonl").read_text().splitlines())
    assert first["held_out"]["loss"] == pytest.approx(np.log(3))  # zeros, as it began
    assert first["train"]["loss"] < np.log(3)  # while the parameters moved
    assert second["held_out"]["loss"] < first["held_out"]["loss"]
    assert first["train"]["examples"] == 160
