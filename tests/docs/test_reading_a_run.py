"""docs/reading_a_run.md explains every logged figure and no other."""

import re
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

import tf_trpo
from tf_trpo.callbacks.dashboards import METRICS
from tf_trpo.demonstrations import record
from tf_trpo.figures.charts import CHARTS, FIGURES
from tf_trpo.learning import UpdateSettings
from tf_trpo.models import PolicySettings, ValueSettings
from tf_trpo.numerics import ConjugateGradientStatus, LineSearchStatus
from tf_trpo.optimizers import (
    ConstrainedTrustRegion,
    DemonstrationBonus,
    EntropyBonus,
    KLPenalty,
    LagrangianTrustRegion,
    TrustRegion,
    VanillaPolicyGradient,
)
from tf_trpo.rollouts import VineSettings

TEXT = (Path(__file__).parents[2] / "docs" / "reading_a_run.md").read_text(encoding="utf-8")
TABLES = TEXT.partition("## Every metric")[2]
EXPLAINED = {name for row in re.findall(r"^\| (`.+?) \|", TABLES, re.M) for name in re.findall(r"`(.+?)`", row)}


class Scored(gym.Wrapper):
    def step(self, action):
        *step, info = self.env.step(action)
        # KEY is an info of an episode's end, and NAME is a cost.
        return *step, {**info, "KEY": 1.0, "NAME": 1.0}


@pytest.fixture(scope="module")
def logged():
    """Names of the figures that trainings with several algorithms and distributions log."""
    names = set()
    for env, optimizer, distribution, costs in (
        ("Pendulum-v1", TrustRegion(entropy=EntropyBonus(0.01), imitation=DemonstrationBonus(0.1)), "gaussian", ()),
        ("CartPole-v1", KLPenalty(), "gaussian", ()),
        ("Pendulum-v1", VanillaPolicyGradient(), "beta", ()),
        ("CartPole-v1", ConstrainedTrustRegion(cost_limits=(25.0,), anchor_kl=0.05), "gaussian", ("NAME",)),
        ("CartPole-v1", LagrangianTrustRegion(cost_limits=(25.0,)), "gaussian", ("NAME",)),
    ):
        making = {"wrappers": [Scored]}
        policy = PolicySettings((4,), distribution=distribution, ema_momentum=None)
        agent = tf_trpo.TRPO.for_env(env, policy=policy, value=ValueSettings((4,)), costs=costs, seed=0, **making)
        anchored = isinstance(optimizer, ConstrainedTrustRegion)
        update = UpdateSettings(value_epochs=1)
        agent.compile(optimizer, update=update, jit_compile=False, anchor=agent if anchored else None)
        if optimizer.imitates:
            agent.imitate(record(lambda observation: np.zeros(1, np.float32), env, 1, **making))
        # An episode of Pendulum has 200 steps.
        steps = 210 if optimizer.imitates else 24
        settings = {"num_steps": steps, "info_keys": ["KEY"], "verbose": 0}
        if optimizer.imitates or anchored:
            evaluate = tf_trpo.callbacks.Evaluate(env, every_steps=steps, episodes=1, info_keys=["KEY"], **making)
            settings["callbacks"] = [evaluate]
        # Both at once: a vine's batch in parts.
        settings |= {"vine": VineSettings(2, 2, 3), "update_parts": 2} if distribution == "beta" else {}
        names |= agent.fit(env, 2 * steps, **settings, **making).history.keys()
    return names


def test_every_figure_that_is_logged_is_explained(logged):
    assert len(logged) > 45
    assert logged - EXPLAINED == set()


def test_every_figure_that_is_explained_exists(logged):
    assert EXPLAINED - logged == {"final/mean_reward", "final/std_reward"}


def test_every_figure_that_is_shown_is_explained():
    shown = {name for charts in CHARTS.values() for names in charts.values() for name in names}
    assert shown | FIGURES.keys() | METRICS.keys() <= EXPLAINED


def test_the_reasons_are_those_of_the_code():
    refused = re.findall(r"^\| (\d) \|", TEXT, re.M)
    no_failure = {LineSearchStatus.ACCEPTED, LineSearchStatus.NOT_USED}
    assert [int(status) for status in refused] == sorted(set(LineSearchStatus) - no_failure)
    (solved,) = re.findall(r"^\| `train/cg_status` \| (.+?) \|", TEXT, re.M)
    assert [int(status) for status in re.findall(r"\b(\d) ", solved)] == list(ConjugateGradientStatus)
