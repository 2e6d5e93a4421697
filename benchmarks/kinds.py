"""`kinds`: train one setting in environments with every kind of observation and action, in various units."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym

import tf_trpo
from benchmarks.tasks import ARM, LEVER, SWITCHES, Match, Reach
from benchmarks.timing import Table, Tables
from tf_trpo.environments import WithoutText
from tf_trpo.learning.settings import UpdateSettings
from tf_trpo.optimizers import TrustRegion

RANGES = ((-1.0, 1.0), (0.0, 1.0), (-200.0, 200.0), (0.0, 1000.0), (-0.01, 0.01), (990.0, 1000.0), (5.0, 35.0))


@dataclasses.dataclass(frozen=True)
class Case:
    """An environment, the length of the training, and the best return as far as it is known.

    Attributes:
      environment: as for `TRPO.fit`.
      steps: environment steps of the training.
      best: description of the best mean return.
      making: arguments of `make_vector_environment`.
      num_envs, num_steps: size of a rollout.
      update, max_kl: settings that may differ from the defaults.
    """

    environment: Any
    steps: int
    best: str
    making: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    num_envs: int = 8
    num_steps: int = 128
    update: UpdateSettings = UpdateSettings()
    max_kl: float = 0.01


def _vector_cartpole() -> gym.vector.VectorEnv:
    return gym.make_vec("CartPole-v1", 8, vectorization_mode="vector_entry_point")


def _simple() -> gym.vector.VectorEnv:
    """Make SuperSuit's vector environment of a PettingZoo environment."""
    import supersuit
    from mpe2 import simple_v3

    vector = supersuit.pettingzoo_env_to_vec_env_v1(simple_v3.parallel_env(max_cycles=25))
    return supersuit.concat_vec_envs_v1(vector, 8, base_class="gymnasium")


_TAXI = Case(
    "Taxi-v4",
    400_000,
    "about 7.9",
    {"action_masks": "info"},
    num_envs=16,
    num_steps=256,
    update=UpdateSettings(value_epochs=20),
    max_kl=0.03,
)
CASES: dict[str, Case] = {
    **{
        f"Reach, actions {low:g} to {high:g}": Case(functools.partial(Reach, low, high), 40_000, "-0.66")
        for low, high in RANGES
    },
    "MultiDiscrete": Case(functools.partial(Match, LEVER), 30_000, "1"),
    "MultiBinary": Case(functools.partial(Match, SWITCHES), 30_000, "1"),
    "Dict of actions": Case(functools.partial(Match, ARM), 60_000, "1"),
    "FrozenLake-v1": Case("FrozenLake-v1", 200_000, "0.74", num_steps=256),
    "Blackjack-v1": Case("Blackjack-v1", 100_000, "about -0.05"),
    "Taxi-v4": dataclasses.replace(_TAXI, making={}),
    "Taxi-v4, masks": _TAXI,
    "MiniGrid-Empty-Random-5x5-v0": Case(
        "minigrid:MiniGrid-Empty-Random-5x5-v0", 40_000, "about 0.96", {"wrappers": (WithoutText,)}
    ),
    "CartPole-v1, vector entry point": Case(_vector_cartpole, 60_000, "500"),
    "simple_v3, SuperSuit": Case(_simple, 40_000, "about -5", num_steps=256),
    "CarRacing-v3": Case("CarRacing-v3", 20_480, "about 900", num_steps=128),
}


@dataclasses.dataclass(frozen=True)
class Kinds(Tables):
    """Train with default settings in environments of every kind, and print the mean returns of all seeds."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the trainings."""
    only: tuple[str, ...] = ()
    """Only cases whose names contain one of these; by default all except CarRacing-v3, which takes half an hour."""
    episodes: int = 50
    """Episodes of the evaluation after each training, with the most likely actions."""

    def tables(self) -> list[Table]:
        rows = []
        for name, case in CASES.items():
            if any(part in name for part in self.only) or (not self.only and name != "CarRacing-v3"):
                found = [self._train(case, seed) for seed in self.seeds]
                columns = {title: ", ".join(f"{one[title]:.4g}" for one in found) for title in found[0]}
                rows.append({"task": name, "steps": case.steps, **columns, "best": case.best})
        return [(f"Mean return after training, seeds {', '.join(map(str, self.seeds))}", rows)]

    def _train(self, case: Case, seed: int) -> dict[str, float]:
        """Return the mean returns of the first and the last episodes of training, and of the evaluation."""
        with contextlib.ExitStack() as opened:
            agent = tf_trpo.TRPO.for_env(_made(case, opened), seed=seed, **case.making)
            agent.compile(TrustRegion(max_kl=case.max_kl), update=case.update)
            kwargs = case.making if _is_vector(case) else {"num_envs": case.num_envs, **case.making}
            environment = _made(case, opened)
            history = agent.fit(environment, case.steps, num_steps=case.num_steps, seed=seed, verbose=0, **kwargs)
            opened.enter_context(warnings.catch_warnings(action="ignore"))
            evaluation = agent.evaluate(_made(case, opened), self.episodes, **case.making)
        returns = [found for found in history.history["rollout/ep_rew_mean"] if not math.isnan(found)]
        return {"first episodes": returns[0], "last 100": returns[-1], "most likely": evaluation["mean_return"]}


def _is_vector(case: Case) -> bool:
    return case.environment in (_vector_cartpole, _simple)


def _made(case: Case, opened: contextlib.ExitStack) -> str | Callable[[], gym.Env] | gym.vector.VectorEnv:
    """Return what makes the case's environments, or a new vector environment, which is closed with the stack."""
    if not _is_vector(case):
        return case.environment
    made: Any = case.environment
    return opened.enter_context(contextlib.closing(made()))
