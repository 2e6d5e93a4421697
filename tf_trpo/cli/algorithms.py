"""The algorithms that --algorithm chooses from: the settings of each, and how it is made of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tf_trpo.cli.errors import UsageError
from tf_trpo.cli.settings import (
    KLPenaltySettings,
    LineSearchSettings,
    NaturalDirectionSettings,
    NaturalPolicyGradientSettings,
    TrainSettings,
    TrustRegionSettings,
    VanillaPolicyGradientSettings,
)

if TYPE_CHECKING:
    from tf_trpo.optimizers import PolicyOptimizer


def _names(*groups: type) -> tuple[str, ...]:
    return tuple(field.name for group in groups for field in dataclasses.fields(group))


SETTINGS: Mapping[str, tuple[str, ...]] = {
    "trpo": _names(TrustRegionSettings, LineSearchSettings, NaturalDirectionSettings),
    "natural-policy-gradient": _names(NaturalDirectionSettings, NaturalPolicyGradientSettings),
    "vanilla-policy-gradient": _names(VanillaPolicyGradientSettings),
    "kl-penalty": _names(KLPenaltySettings, LineSearchSettings, NaturalDirectionSettings),
}
"""What each algorithm uses of the settings that are not everybody's."""


def unused_settings(algorithm: str) -> set[str]:
    """Names of the settings that only other algorithms use."""
    return {name for names in SETTINGS.values() for name in names} - set(SETTINGS[algorithm])


def foreign_settings(settings: TrainSettings) -> list[str]:
    """Names of the settings that are not at their default, and that only other algorithms use."""
    defaults, values = TrainSettings().flat(), settings.flat()
    return sorted(name for name in unused_settings(settings.algorithm.algorithm) if values[name] != defaults[name])


def check_algorithm(settings: TrainSettings) -> None:
    """Refuse what belongs to other algorithms only, and would be ignored.

    Raises:
      UsageError: a setting of another algorithm is not at its default.
    """
    algorithm = settings.algorithm.algorithm
    for name in foreign_settings(settings):
        others = " and ".join(other for other, names in SETTINGS.items() if name in names)
        raise UsageError(f"{name} is a setting of {others}, and does nothing in {algorithm}")


def make_policy_optimizer(settings: TrainSettings) -> PolicyOptimizer:
    """The policy optimizer that the settings describe.

    Raises:
      ValueError: a setting out of its range.
    """
    flat = settings.flat()
    algorithm = settings.algorithm.algorithm
    own = {name: flat[name] for name in SETTINGS[algorithm]}
    if algorithm == "kl-penalty":
        own["gamma"] = settings.advantages.gamma
    if algorithm == "trpo":
        own["iteration_steps"] = settings.environment.num_envs * settings.advantages.num_steps
    make: Mapping[str, Callable[..., PolicyOptimizer]] = {
        "trpo": _trust_region,
        "natural-policy-gradient": _natural_policy_gradient,
        "vanilla-policy-gradient": _vanilla_policy_gradient,
        "kl-penalty": _kl_penalty,
    }
    return make[algorithm](**own)


def _trust_region(
    *, max_kl: float, final_max_kl: float | None, max_kl_steps: int, iteration_steps: int, **settings: Any
) -> PolicyOptimizer:
    from keras.optimizers.schedules import PolynomialDecay

    from tf_trpo.optimizers import TrustRegion

    if final_max_kl is None:
        return TrustRegion(max_kl, **settings)
    if settings["radius"] != "fixed":
        raise ValueError("final_max_kl: a limit that adapts follows no schedule: --radius fixed or --final-max-kl None")
    iterations = math.ceil(max_kl_steps / iteration_steps)
    return TrustRegion(PolynomialDecay(max_kl, iterations, final_max_kl), **settings)


def _natural_policy_gradient(
    *, natural_learning_rate: float | None, natural_max_kl: float, **settings: Any
) -> PolicyOptimizer:
    from tf_trpo.optimizers import NaturalPolicyGradient

    return NaturalPolicyGradient(natural_learning_rate, max_kl=natural_max_kl, **settings)


def _vanilla_policy_gradient(*, vanilla_optimizer: str, vanilla_learning_rate: float) -> PolicyOptimizer:
    import keras

    from tf_trpo.optimizers import VanillaPolicyGradient

    optimizers = {"sgd": keras.optimizers.SGD, "adam": keras.optimizers.Adam}
    return VanillaPolicyGradient(optimizers[vanilla_optimizer](vanilla_learning_rate))


def _kl_penalty(*, penalty_learning_rate: float, **settings: Any) -> PolicyOptimizer:
    import keras

    from tf_trpo.optimizers import KLPenalty

    return KLPenalty(optimizer=keras.optimizers.Adam(penalty_learning_rate), **settings)
