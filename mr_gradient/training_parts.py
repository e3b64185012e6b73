"""From a configuration to the parts of a training: model, penalty, optimizer, strategy."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from mr_gradient import model_folder, models, optimizers
from mr_gradient.blocks import Layout
from mr_gradient.config import TrainConfig
from mr_gradient.dataset.schema import Dataset
from mr_gradient.errors import UsageError
from mr_gradient.jobs.broadcast import Settings, settings_for
from mr_gradient.jobs.launch import Launcher
from mr_gradient.jobs.manifest import make_splits
from mr_gradient.models import source_code
from mr_gradient.models.base import Model, layout
from mr_gradient.models.custom import Custom
from mr_gradient.models.linear import Linear
from mr_gradient.models.penalty import Penalty
from mr_gradient.models.source_code import Code
from mr_gradient.optimizers.base import EachGradient, Optimizer, Search
from mr_gradient.strategies.base import Strategy
from mr_gradient.strategies.data_look import DataLook
from mr_gradient.strategies.local_sgd import LocalSgd
from mr_gradient.strategies.model_check import check
from mr_gradient.strategies.passes import Passes
from mr_gradient.strategies.synchronous import Synchronous
from mr_gradient.yaml_files import read_yaml

#: The optimizer of networks, and of minibatches, when nobody says which.
_OF_NETWORKS = "adam"
_OPTIMIZER_OPTIONS = ("learning_rate", "momentum", "beta1", "beta2", "decay", "epsilon",
                      "weight_decay", "schedule", "warmup", "schedule_iterations", "schedule_drop",
                      "clip_norm", "memory", "tolerance")
#: Fields of optimizers that have another name than their option.
_FIELDS = {"tolerance": "gradient_tolerance"}
#: Rows of a minibatch of ``local-sgd`` when nobody says how many.
_BATCH_SIZE = 128
#: Beyond so many parameters Newton's Hessian fills gigabytes in every task.
_MOST_OF_NEWTON = 8192


@dataclass(frozen=True)
class Parts:
    """What a configuration stands for, once the data is known."""

    config: TrainConfig
    dataset: Dataset

    @cached_property
    def code(self) -> Code | None:
        """That of a model of the user's own."""
        model = self.config.model
        return source_code.find(model, "--model") if source_code.is_own(model) else None

    @cached_property
    def model(self) -> Model:
        schema, config = self.dataset.schema, self.config
        if self.code:
            return Custom(schema.width, schema.kind, len(schema.classes), config.model_options,
                          self.code)
        if config.model_options:
            raise UsageError(f"--model-options: --model {config.model} has none; they are for a model "
                             "of your own")
        options = {"hidden": config.hidden, "huber_delta": config.huber_delta, "layers": self.layers,
                   "input_shape": config.input_shape or None}
        return models.create(config.model, schema.width, schema.kind, len(schema.classes),
                             {name: value for name, value in options.items() if value is not None})

    @cached_property
    def layers(self) -> Any:
        """The layer list as plain data, or None."""
        layers = self.config.layers
        return read_yaml(layers) if isinstance(layers, str) else layers

    @cached_property
    def layout(self) -> Layout:
        return layout(self.model)

    @cached_property
    def penalty(self) -> Penalty:
        return Penalty.of(self.model, self.config.l2, self.config.l1)

    @cached_property
    def optimizer_name(self) -> str:
        """``auto``: a batch optimizer for linear models; a learning rate asks for gradient descent."""
        config = self.config
        if config.optimizer != "auto":
            return config.optimizer
        if config.learning_rate is not None:
            return "gd"
        batch = config.strategy == "synchronous" and not config.batch_size
        if not (batch and isinstance(self.model, Linear)):
            return _OF_NETWORKS
        return "owlqn" if config.l1 else "lbfgs"

    @cached_property
    def optimizer(self) -> Optimizer | Search:
        config, name = self.config, self.optimizer_name
        given = {_FIELDS.get(key, key): getattr(config, key) for key in _OPTIMIZER_OPTIONS
                 if getattr(config, key) is not None}
        if config.l1 and name != "owlqn":
            raise UsageError(f"--l1 {config.l1}: needs --optimizer owlqn, found {name}")
        made = optimizers.search(name, {**given, "l1": config.l1, "penalized": self.penalty.ranges})
        if isinstance(made, EachGradient):
            made = made.optimizer
        _check_used(name, made, config)
        if name in optimizers.SEARCHES:
            if config.strategy != "synchronous" or config.batch_size:
                raise UsageError(f"--optimizer {name}: looks at all examples at each iteration; use it "
                                 "with --strategy synchronous and without --batch-size")
            if made.wants_hessian and not hasattr(self.model, "add_hessian"):
                raise UsageError(f"--optimizer {name}: needs a linear model, found {config.model}")
            if made.wants_hessian and self.layout.size > _MOST_OF_NEWTON:
                raise UsageError(f"--optimizer {name}: is for at most {_MOST_OF_NEWTON:,} parameters, "
                                 f"found {self.layout.size:,}; use lbfgs")
        return made

    @cached_property
    def precondition(self) -> str:
        """``auto``: features centred and of like size, which took the fewest jobs to 1e-3 of the
        optimum: 17 for 281 when only centred (digits, squared), 16 for 41 (click set, 2^15 columns).
        Softmax of dense features was faster only centred: 25 for 60 (digits)."""
        kind, linear = self.config.precondition, isinstance(self.model, Linear)
        if kind == "auto":
            if not linear or self.optimizer_name not in ("lbfgs", "owlqn"):
                return "none"
            dense = self.dataset.schema.layout == "dense"
            return "center" if dense and self.model.outputs > 1 else "both"
        if kind != "none" and (not linear or self.optimizer_name == "newton"
                               or self.config.strategy != "synchronous"):
            raise UsageError(f"--precondition {kind}: needs a linear model, --strategy synchronous and "
                             f"another optimizer than newton; found {self.config.model}, "
                             f"{self.config.strategy} and {self.optimizer_name}")
        return kind

    @cached_property
    def resolved(self) -> TrainConfig:
        """The configuration with what ``auto``, None and 0 stand for, and layers as plain data; a file
        of the user's own is where it is from anywhere."""
        options = {key: getattr(self.optimizer, _FIELDS.get(key, key)) for key in _OPTIMIZER_OPTIONS
                   if hasattr(self.optimizer, _FIELDS.get(key, key))}
        batch_size = self.config.batch_size or (
            _BATCH_SIZE if self.config.strategy == "local-sgd" else 0)
        model = self.config.model
        if self.code and self.code.path:
            model = f"{self.code.path}:{self.code.function}"
        return replace(self.config, optimizer=self.optimizer_name, precondition=self.precondition,
                       layers=self.layers, batch_size=batch_size, model=model, **options)

    @property
    def identity(self) -> dict:
        same = self.resolved.identity(self.model, self.optimizer, self.dataset.digest, self.start[1])
        # Of a file with a model of the user's own, what it holds counts, not where it lies.
        return same | {"model": self.code.function, "factory": ""} if self.code else same

    @cached_property
    def start(self) -> tuple[np.ndarray, str]:
        """Initial parameters (size,), and a digest of them if they come from another model."""
        config = self.config
        if not config.warm_start:
            return self.layout.flatten(self.model.init(config.seed), np.dtype(config.precision)), ""
        saved = model_folder.read(config.warm_start)
        found = {name: array.shape for name, array in saved.parameters.items()}
        if found != dict(self.layout.shapes):
            raise UsageError(f"--warm-start {config.warm_start}: its tensors must be "
                             f"{dict(self.layout.shapes)}, found {found}")
        ours, theirs = self.dataset.schema, saved.schema
        for what in ("features", "classes"):
            if getattr(ours, what) != getattr(theirs, what):
                raise UsageError(f"--warm-start {config.warm_start}: was trained on other {what} than "
                                 f"{config.data} has; prepare with --like {config.warm_start}")
        parameters = self.layout.flatten(saved.parameters, np.dtype(config.precision))
        return parameters, hashlib.sha256(parameters.tobytes()).hexdigest()

    def check_model(self, jobs: Launcher) -> None:
        """Try a model of the user's own on a few examples, unless that is not wanted."""
        if self.code and not self.config.skip_model_check:
            check(jobs, make_splits(self.dataset), self.settings(), self.layout.views(self.start[0]))

    def settings(self, **fields) -> Settings:
        return settings_for(self.model, self.dataset.schema, self.config.precision,
                            seed=self.config.seed, **fields)

    def strategy(self, jobs: Launcher) -> Strategy:
        """Ready to make steps; a job may be run to look at the data first."""
        config = self.resolved
        splits = make_splits(self.dataset, rows_per_split=config.rows_per_split)
        look = DataLook(jobs, self.dataset, config.precision, config.rows_per_split)
        weights = look.class_weights() if config.class_weight else None
        passes = Passes(jobs, splits, self.layout)
        if config.strategy == "local-sgd":
            return LocalSgd(passes, self.optimizer, self.penalty, config.batch_size,
                            config.local_epochs, config.local_steps,
                            lambda iteration: self.settings(iteration=iteration,
                                                            class_weights=weights))
        search, change = self.optimizer, look.change(
            config.precondition, getattr(self.model, "loss", ""), config.l2)
        if self.optimizer_name not in optimizers.SEARCHES:
            search = EachGradient(search)
        elif change is not None and change.scale is not None:
            search = self._in_scale(search, change.scale)
        sample = (config.batch_size, passes.rows) if 0 < config.batch_size < passes.rows else None
        return Synchronous(passes, search, self.penalty, change, lambda iteration: self.settings(
            iteration=iteration, class_weights=weights, hessian=search.wants_hessian, sample=sample))

    def _in_scale(self, search: Search, scale: np.ndarray) -> Search:
        """A search over variables of which each is a weight over its feature's scale, (features,)."""
        if self.optimizer_name == "lbfgs":
            return replace(search, first=1)
        return replace(search, scale=self.layout.flatten(
            {"weight": np.broadcast_to(scale, self.model.tensors()["weight"].shape),
             "bias": np.ones(self.model.outputs)}, np.float64))


def _check_used(name: str, made: Optimizer | Search, config: TrainConfig) -> None:
    """Refuse an option that the optimizer does not have."""
    for key in _OPTIMIZER_OPTIONS:
        value = getattr(config, key)
        if value is not None and _FIELDS.get(key, key) not in made.__dataclass_fields__:
            raise UsageError(f"--{key.replace('_', '-')} {value}: --optimizer {name} has no such "
                             "option; leave it out")
