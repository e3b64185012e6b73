"""Training seconds beside scikit-learn and bare numpy with scipy: same data, same objective.

    python benchmarks/peers.py [--only NAMES] [--rows N] [--repeats N] [--folder DIR] [--mnist DIR]

Parts: ``mnist`` (softmax on pixels), ``dense`` (logistic, 2,000,000 x 100), ``clicks`` (logistic,
1,000,000 rows of 39 features hashed into 2**20 columns), ``network`` (an epoch of 784-512-256-10) and
``points`` (several points in a job beside one). In turn, each contender in a process of its own with
two cores; medians. Seconds are from the start of the training, data in memory or mapped, to the first
objective within 1e-3 of the optimum; "whole" is the life of the process, with its imports and its
data read. "Passes" are jobs, or evaluations of the objective; products with a Hessian are not counted.
Scikit-learn has its two threads, bare numpy two of one BLAS thread each, this project two
processes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import mr_gradient.jobs  # noqa: F401  before numpy: one BLAS thread

# isort: split
from peer_problems import PROBLEMS

from mr_gradient.threads import VARIABLES

_SOLVERS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "peer_solvers.py")
_ROOT = os.path.dirname(os.path.dirname(_SOLVERS))
#: For each problem the contenders: title, solver and its options; the first is this project, the
#: second the bare one that it is compared with.
_CONTENDERS = {
    "mnist": [("ours, L-BFGS", "ours", {}),
              ("bare numpy, L-BFGS-B", "bare", {"kind": ""}),
              ("bare numpy, centred", "bare", {"kind": "centred"}),
              ("scikit-learn, lbfgs", "scikit-learn", {"solver": "lbfgs"}),
              ("scikit-learn, lbfgs, centred copy", "scikit-learn",
               {"solver": "lbfgs", "centred": True})],
    "dense": [("ours, Newton", "ours", {"optimizer": "newton"}),
              ("bare numpy, L-BFGS-B", "bare", {"kind": ""}),
              ("ours, L-BFGS", "ours", {}),
              ("bare numpy, Newton", "bare", {"kind": "newton"}),
              ("scikit-learn, newton-cholesky", "scikit-learn", {"solver": "newton-cholesky"}),
              ("scikit-learn, lbfgs", "scikit-learn", {"solver": "lbfgs"})],
    "clicks": [("ours, L-BFGS", "ours", {}),
               ("bare numpy, scaled", "bare", {"kind": "scaled"}),
               ("scikit-learn, newton-cg", "scikit-learn", {"solver": "newton-cg"}),
               ("scikit-learn, lbfgs", "scikit-learn", {"solver": "lbfgs"})]}
_POINTS = [("several points a job", "ours", {}), ("one point a job", "ours", {"first": 1, "trials": 1})]
_EPOCHS = [("ours, local-sgd on 2 splits", "our epochs", {"epochs": 4}),
           ("scikit-learn, MLPClassifier", "scikit-learn epochs", {"epochs": 4})]


def run(solver: str, problem: str, folder: str, target: float, options: dict) -> tuple[dict, float]:
    """One training in a process of its own; its figures, and the seconds of the process."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    threads = "2" if solver.startswith("scikit-learn") else "1"
    environment |= dict.fromkeys(VARIABLES, threads) | {"PYTHONPATH": _ROOT}
    started = time.perf_counter()
    done = subprocess.run([sys.executable, _SOLVERS, solver, problem, folder, repr(target),
                           json.dumps(options)], env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout), time.perf_counter() - started


def target(problem: str, folder: str) -> float:
    """1.001 of the optimum, which is kept beside the data."""
    path = os.path.join(folder, "optimum.json")
    if not os.path.exists(path):
        kind = {"mnist": "centred", "dense": "", "clicks": "scaled"}[problem]
        found, _ = run("bare", problem, folder, 0.0, {"kind": kind})
        with open(path, "w") as file:
            json.dump(found["objective"], file)
    with open(path) as file:
        return 1.001 * json.load(file)


def compare(problem: str, folder: str, contenders: list[tuple], repeats: int) -> list[dict]:
    """Medians of each contender's figures."""
    goal, found = target(problem, folder), [[] for _ in contenders]
    needed = [run(solver, problem, folder, goal, {**options, "iterations": 0})[0]["iterations"]
              if solver == "ours" else 0 for _, solver, options in contenders]
    for _ in range(repeats):
        for figures, iterations, (_, solver, options) in zip(found, needed, contenders):
            given = {**options, "iterations": iterations} if iterations else options
            result, whole = run(solver, problem, folder, goal, given)
            figures.append({**result, "whole": whole})
    return [{name: statistics.median(each[name] for each in figures) for name in figures[0]}
            for figures in found]


def show(problem: str, contenders: list[tuple], medians: list[dict]) -> None:
    ours = medians[0]["seconds"]
    print(f"\n{problem:36s} seconds   whole  passes  ours is")
    for (title, _, _), each in zip(contenders, medians):
        print(f"  {title:34s} {each['seconds']:7.2f} {each['whole']:7.2f} {each['passes']:7.0f}  "
              f"{ours / each['seconds']:.2f} of it")
    # On centred copies scikit-learn solves an easier problem than the one it was given.
    bare, others = medians[1]["seconds"], [
        each["seconds"] for (_, solver, options), each in zip(contenders, medians)
        if solver == "scikit-learn" and "centred" not in options]
    print(f"  goals: {ours / bare:.2f} of bare numpy, at most 1.3; "
          f"{ours / min(others):.2f} of the best of scikit-learn, at most 0.5", flush=True)


def show_points(problem: str, folder: str, repeats: int) -> None:
    print(f"\n{problem}: L-BFGS by points a job          seconds    jobs  accepted  jobs a step")
    for (title, _, _), each in zip(_POINTS, compare(problem, folder, _POINTS, repeats)):
        print(f"  {title:34s} {each['seconds']:11.2f} {each['passes']:7.0f} {each['accepted']:9.0f} "
              f"{each['passes'] / each['accepted']:12.2f}", flush=True)


def network(folder: str, repeats: int) -> None:
    """Medians over all epochs but each process's first."""
    seconds: list[list[float]] = [[] for _ in _EPOCHS]
    for _ in range(repeats):
        for found, (_, solver, options) in zip(seconds, _EPOCHS):
            found += run(solver, "mnist", folder, 0.0, options)[0][1:]
    medians = [statistics.median(found) for found in seconds]
    print("\nan epoch of 784-512-256-10, batch 256")
    for (title, _, _), median in zip(_EPOCHS, medians):
        print(f"  {title:34s} {median:7.2f}")
    print(f"  goal: {medians[0] / medians[1]:.2f} of scikit-learn, at most 0.8", flush=True)


def main() -> None:
    parts = [*_CONTENDERS, "network", "points"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(parts), help="parts, separated by commas")
    parser.add_argument("--rows", type=int, default=0, help="the first so many; 0: all")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", default="", help="keep the data, and its optima, for later runs")
    parser.add_argument("--mnist", default="../shared/data/mnist", help="with the IDX files")
    arguments = parser.parse_args()
    chosen = arguments.only.split(",")
    if unknown := set(chosen) - set(parts):
        parser.error(f"--only: must be of {', '.join(parts)}; found {', '.join(sorted(unknown))}")
    kept = arguments.folder or tempfile.mkdtemp(prefix="mr_gradient-peers-")
    try:
        for name, problem in PROBLEMS.items():
            here = {"compare": name in chosen, "points": "points" in chosen,
                    "network": name == "mnist" and "network" in chosen}
            if any(here.values()):
                folder = os.path.join(kept, f"{name}-{arguments.rows}")
                os.makedirs(folder, exist_ok=True)
                problem.prepare(folder, arguments.rows, arguments.mnist)
            if here["compare"]:
                contenders = _CONTENDERS[name]
                show(name, contenders, compare(name, folder, contenders, arguments.repeats))
            if here["points"]:
                show_points(name, folder, arguments.repeats)
            if here["network"]:
                network(folder, arguments.repeats)
    finally:
        if not arguments.folder:
            shutil.rmtree(kept)


if __name__ == "__main__":
    main()
