"""Settings of the policy optimizers: ranges, configs and documentation."""

import ast
import dataclasses
import inspect
import json
import math
import re
from collections import Counter

import keras
import pytest

from tf_trpo import optimizers
from tf_trpo.optimizers import (
    ALGORITHMS,
    AdaptiveRadius,
    Backtracking,
    ClippedSurrogate,
    ConstrainedTrustRegion,
    DemonstrationBonus,
    EntropyBonus,
    FirstOrder,
    KLPenalty,
    LagrangianTrustRegion,
    NaturalDirection,
    NaturalPolicyGradient,
    TrustRegion,
    VanillaPolicyGradient,
)

PARTS = [AdaptiveRadius, Backtracking, DemonstrationBonus, EntropyBonus, FirstOrder, NaturalDirection]
BAD = [0.0, -0.01, math.nan, math.inf]
OUT_OF_RANGE = {
    TrustRegion: {"max_kl": BAD, "final_max_kl": BAD, "constraint": ["median"], "anchor_kl": BAD},
    ConstrainedTrustRegion: {
        "cost_limits": [(math.nan,), (1.0,) * 5],
        "margin_gain": [-0.01, math.nan, math.inf],
    },
    LagrangianTrustRegion: {
        "cost_limits": [(0.0,), (math.inf,)],
        **{f"multiplier_k{name}": [-0.01, math.nan, math.inf] for name in "pid"},
        "initial_multiplier": [-0.01, math.nan, math.inf],
    },
    NaturalPolicyGradient: {"natural_learning_rate": BAD, "natural_max_kl": BAD},
    VanillaPolicyGradient: {"vanilla_optimizer": ["rmsprop"], "vanilla_learning_rate": BAD},
    KLPenalty: {"penalty": ["none"], "penalty_coefficient": BAD, "target_kl": BAD, "penalty_solver": ["lbfgs"]},
    ClippedSurrogate: {
        "clip_range": BAD,
        "ppo_epochs": [0, 10_001],
        "ppo_minibatch_size": [0],
        "ppo_learning_rate": BAD,
        "ppo_final_learning_rate": [-0.01, math.nan, math.inf],
        "ppo_target_kl": BAD,
        "max_gradient_norm": BAD,
    },
    EntropyBonus: {"entropy_coefficient": [-0.01, math.nan, math.inf]},
    DemonstrationBonus: {
        "demonstration_weight": [-0.01, math.nan, math.inf],
        "demonstration_decay": [0.0, 1.01, math.nan],
    },
    AdaptiveRadius: {
        "min_radius": [0.0, math.inf],
        "max_radius": [0.0, math.inf],
        "shrink_below": [-0.1, 1.0],
        "expand_above": [0.25, 1.0],
        "shrink_factor": [0.0, 1.0],
        "expand_factor": [1.0, math.inf],
    },
    Backtracking: {"backtrack_ratio": [0.0, 1.0], "max_backtracks": [-1, 1001]},
    FirstOrder: {"penalty_epochs": [0, 10_001], "penalty_minibatch_size": [0], "penalty_learning_rate": BAD},
    NaturalDirection: {
        "cg_iterations": [0, 10_001],
        "cg_damping": [-1e-9, math.nan, math.inf],
        "cg_tolerance": [-1e-9, math.inf],
        "curvature_fraction": [0.0, 1.01, math.nan],
        "fisher_vector_product": ["hessian"],
        "preconditioner_rank": [-1, 4097],
    },
}
OTHER = [
    TrustRegion(
        0.03,
        constraint="max",
        radius=AdaptiveRadius(1e-4, 0.5, 0.1, 0.9, 0.5, 3.0),
        direction=NaturalDirection(7, 0.02, 1e-4, 0.25, "double-backprop", 32),
        search=Backtracking(0.6, 4),
    ),
    TrustRegion(final_max_kl=0.001),
    NaturalPolicyGradient(0.3, 0.02, NaturalDirection(3)),
    VanillaPolicyGradient("sgd", 0.5),
    KLPenalty("theory", 2.0, 0.03, "first-order", FirstOrder(3, 20, 0.01), NaturalDirection(3), Backtracking(0.5, 2)),
    ClippedSurrogate(0.1, 3, 20, 0.01, 0.0, 0.02, 0.7, EntropyBonus(0.01)),
]


def settings_of(cls):
    """Settings that a class adds to those of its base."""
    added = (field for field in dataclasses.fields(cls) if field.name in vars(cls)["__annotations__"])
    return [field for field in added if not dataclasses.is_dataclass(field.default)]


@pytest.mark.parametrize(
    ("cls", "name", "value"),
    [(cls, name, value) for cls, names in OUT_OF_RANGE.items() for name, values in names.items() for value in values],
)
def test_a_setting_out_of_range_is_refused_with_its_name_and_value(cls, name, value):
    with pytest.raises(ValueError, match=rf"^{name} must be .*, got {re.escape(repr(value))}$"):
        cls(**{name: value})


@pytest.mark.parametrize("cls", [*ALGORITHMS.values(), *PARTS])
def test_every_setting_has_a_range_and_is_documented(cls):
    """The string below a field is the help of its option."""
    (definition,) = ast.parse(inspect.getsource(cls)).body
    documented = set()
    for node, following in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(node, ast.AnnAssign) and isinstance(following, ast.Expr):
            assert following.value.value.endswith(".")
            documented.add(node.target.id)
    assert documented == set(vars(cls)["__annotations__"])
    assert OUT_OF_RANGE[cls].keys() == {field.name for field in settings_of(cls)} - {"radius"}


def test_a_name_means_one_setting():
    names = Counter(field.name for cls in [*ALGORITHMS.values(), *PARTS] for field in settings_of(cls))
    # Both algorithms limit costs.
    assert {name for name, count in names.items() if count > 1} == {"cost_limits"}


def test_the_end_of_a_range_belongs_to_it():
    NaturalDirection(cg_iterations=1, cg_damping=0.0, cg_tolerance=0.0, curvature_fraction=1.0)
    Backtracking(max_backtracks=0)
    TrustRegion(0.01, radius=AdaptiveRadius(0.01, 0.01, shrink_below=0.0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"radius": AdaptiveRadius(0.02)}, "min_radius must be at .* max_kl"),
        ({"radius": AdaptiveRadius(max_radius=0.009)}, "max_radius must be at .* max_kl"),
        (
            {"radius": AdaptiveRadius(), "final_max_kl": 0.001},
            "final_max_kl must be None if the radius adapts",
        ),
    ],
)
def test_an_adaptive_radius_starts_between_its_limits_and_follows_no_schedule(settings, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        TrustRegion(0.01, **settings)


@pytest.mark.parametrize("optimizer", [*(cls() for cls in ALGORITHMS.values()), *OTHER], ids=repr)
def test_an_optimizer_is_a_value_that_its_config_describes(optimizer):
    cls = type(optimizer)
    config = json.loads(json.dumps(optimizer.get_config()))
    assert cls.from_config(config) == optimizer
    assert hash(cls.from_config(config)) == hash(optimizer)
    assert dataclasses.replace(optimizer) == optimizer
    assert cls.from_config({}) == cls()
    keras.saving.register_keras_serializable(package="tf_trpo")(cls)
    saved = json.loads(json.dumps(keras.saving.serialize_keras_object(optimizer)))
    assert keras.saving.deserialize_keras_object(saved) == optimizer
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(optimizer, dataclasses.fields(cls)[0].name, 1)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"max_kl": -1.0}, "max_kl must be positive and finite, or None, got -1.0"),
        ({"max_kl": "0.1"}, r"Expected `float \| null`, got `str` - at `\$.max_kl`"),
        ({"constraint": "median"}, r"\$.constraint"),
        ({"search": {"max_backtracks": 1.5}}, r"Expected `int`, got `float` - at `\$.search.max_backtracks`"),
        ({"search": {"backtrack_ratio": 2.0}}, r"backtrack_ratio must be in \(0, 1\), got 2.0 - at `\$.search`"),
        ({"learning_rate": 0.1}, r"has no settings \['learning_rate'\]"),
        ({"search": {"cg_iterations": 3}}, r"has no settings \['search.cg_iterations'\]"),
        ({"radius": "adaptive"}, r"\$.radius"),
    ],
)
def test_a_config_that_is_none_is_refused_with_its_place(config, message):
    with pytest.raises(ValueError, match=f"^TrustRegion.*{message}"):
        TrustRegion.from_config(config)


def test_the_algorithms_are_those_that_are_exported():
    exported = [value for _, value in inspect.getmembers(optimizers, inspect.isclass)]
    algorithms = {cls for cls in exported if issubclass(cls, optimizers.PolicyOptimizer)}
    assert set(ALGORITHMS.values()) == algorithms - {optimizers.PolicyOptimizer}
