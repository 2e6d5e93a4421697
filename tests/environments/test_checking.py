"""Every fault of an environment has a finding with its name, and a good environment has none."""

import itertools
import time

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from tf_trpo.environments import check_environment


class Good(gym.Env):
    """A walk to +3 or -3 with noise from its own generator, of at most ten steps."""

    observation_space = spaces.Box(-10, 10, (2,), np.float32)
    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position, self.time = self.np_random.uniform(-1, 1), 0
        return self.observation(), {}

    def step(self, action):
        self.time += 1
        self.position += float(action[0]) + self.np_random.uniform(-0.1, 0.1)
        terminated = self.is_over()
        return self.observation(), self.reward(), terminated, not terminated and self.time == 10, self.info()

    def observation(self):
        return np.array([self.position, self.time], np.float32)

    def reward(self):
        return self.position

    def is_over(self):
        return abs(self.position) > 3

    def info(self):
        return {"is_success": self.position > 3}


class OfText(Good):
    observation_space = spaces.Text(5)


class OfSequences(Good):
    action_space = spaces.Sequence(spaces.Discrete(2))


class WithoutSpace(Good):
    observation_space = None


class WithoutActions(gym.Env):
    observation_space = Good.observation_space


class Unbounded(Good):
    action_space = spaces.Box(np.array([-1, -np.inf], np.float32), np.ones(2, np.float32))


class HalfBounded(Good):
    """Has a lower bound only: the largest float32 stands for infinity."""

    action_space = spaces.Dict(push=spaces.Box(0, float(np.finfo(np.float32).max), (1,), np.float32))

    def step(self, action):
        return super().step(np.clip(action["push"], 0, 1))


class NotANumber(Good):
    def observation(self):
        return np.array([self.position if self.time < 4 else np.nan, self.time], np.float32)


class InfiniteReward(Good):
    def reward(self):
        return float("inf") if self.time == 2 else 0.5


class Outside(Good):
    observation_space = spaces.Dict(walk=spaces.Box(-10, 0.5, (2,), np.float32))

    def observation(self):
        return {"walk": super().observation()}


class OtherShape(Good):
    def observation(self):
        return np.zeros(2 if self.time < 3 else 3, np.float32)


class NoReward(Good):
    def reward(self):
        return 0.0


class EqualReturns(Good):
    def reward(self):
        return -1.0

    def is_over(self):
        return False


class UnequalRewards(Good):
    def reward(self):
        return 1e6 if self.is_over() else 0.1


class TinyRewards(Good):
    def reward(self):
        return 1e-20 * self.position


class HugeRewards(Good):
    def reward(self):
        return 1e20 * self.position


class Endless(Good):
    def step(self, action):
        observation, reward, *_, info = super().step(action)
        return observation, reward, False, False, info

    def observation(self):
        return np.tanh([self.position, self.time]).astype(np.float32)


class OtherRandomness(Good):
    """Draws from a generator that no seed sets."""

    generator = np.random.default_rng()

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position = self.generator.uniform(-1, 1)
        return self.observation(), {}


class Remembering(Good):
    """Depends on earlier episodes."""

    drift = 0.0

    def step(self, action):
        self.drift += 1e-6
        self.position += self.drift
        return super().step(action)


class SameArray(Good):
    """Always returns the same array, which it changes."""

    array = None

    def observation(self):
        self.array = np.zeros(2, np.float32) if self.array is None else self.array
        self.array[:] = self.position, self.time
        return self.array


class BothAtLimit(Good):
    def step(self, action):
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward, terminated or truncated, truncated, info


class OldDone(Good):
    """Its time limit is a failure, as with the flag `done` of old Gym."""

    def step(self, action):
        observation, reward, _, _, info = super().step(action)
        return observation, reward, self.time == 10, False, info


class MaskInInfo(Good):
    action_space = spaces.Discrete(3)

    def step(self, action):
        return super().step([action - 1])

    def info(self):
        return {"action_mask": np.ones(3, np.int8)}


class CloseFails(Good):
    def close(self):
        raise AttributeError("no window")


class OldReset(Good):
    def reset(self):
        return super().reset()


class OldStep(Good):
    def step(self, action):
        return super().step(action)[:4]


class OldResetResult(Good):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)[0]


class Raising(Good):
    def step(self, action):
        if self.time == 3:
            raise LookupError("no such place")
        return super().step(action)


class Slow(Good):
    def step(self, action):
        time.sleep(0.01)
        return super().step(action)


class Unmakeable(Good):
    def __init__(self):
        raise OSError("no simulator here")


class NothingAllowed(Good):
    action_space = spaces.Discrete(3)

    def step(self, action):
        return super().step([action - 1])

    def action_masks(self):
        return np.array([0, 0, 0] if self.time == 3 else [1, 1, 1])


class MaskedIntegers(Good):
    """Allows 1 only, but nothing in step 4."""

    observation_space = spaces.Dict(walk=Good.observation_space, action_mask=spaces.MultiBinary(3))
    action_space = spaces.Box(-1, 1, (1,), np.int8)

    def step(self, action):
        assert action == 1 or self.time == 3
        return super().step(action)

    def observation(self):
        return {"walk": super().observation(), "action_mask": np.array([0, 0, self.time != 3], np.int8)}

    def is_over(self):
        return self.position > 3.5


made_before = Good()


def always_the_same():
    return made_before


class OnlyOne(Good):
    """A second object cannot be made while the first one exists, as for a simulator with one port."""

    objects = itertools.count()

    def __init__(self):
        if next(self.objects):
            raise OSError("the port is in use")


def with_statistics():
    return gym.wrappers.NormalizeObservation(gym.wrappers.NormalizeReward(Good()))


def with_statistics_that_are_fixed():
    env = gym.wrappers.NormalizeObservation(Good())
    env.update_running_mean = False
    return env


BAD = {
    OfText: "error observation-space",
    OfSequences: "error spaces",
    WithoutSpace: "error no-space",
    WithoutActions: "error no-space",
    Unbounded: "warning unbounded-actions",
    HalfBounded: "warning unbounded-actions",
    NotANumber: "error not-finite",
    InfiniteReward: "error not-finite",
    Outside: "warning outside-space",
    OtherShape: "error failure",
    NoReward: "warning no-reward",
    EqualReturns: "warning equal-rewards",
    UnequalRewards: "warning unequal-rewards",
    TinyRewards: "warning reward-range",
    HugeRewards: "warning reward-range",
    Endless: "warning no-end",
    OtherRandomness: "warning not-reproducible",
    Remembering: "warning not-reproducible",
    SameArray: "warning mutated-observation",
    BothAtLimit: "warning terminated-at-limit",
    OldDone: "warning equal-lengths",
    MaskInInfo: "warning unused-mask",
    CloseFails: "warning close-fails",
    OldReset: "error failure",
    OldResetResult: "error failure",
    OldStep: "error failure",
    Raising: "error failure",
    Slow: "warning slow",
    Unmakeable: "error cannot-be-made",
    NothingAllowed: "warning empty-mask",
    MaskedIntegers: "warning empty-mask",
    always_the_same: "error one-only",
    OnlyOne: "error one-only",
    with_statistics: "warning running-statistics",
}
"""Environments, and the severity and the name of the one finding about each."""
WORDS = {
    OfText: "leave it out by tf_trpo.environments.WithoutText",
    OfSequences: "the action space Sequence(Discrete(2)",
    WithoutSpace: "the environment's observation_space is None, which is not a Gymnasium space",
    WithoutActions: "the environment has no action_space (AttributeError: ",
    Unbounded: "the action lacks a bound in at least one dimension",
    HalfBounded: "push lacks a bound in at least one dimension",
    NotANumber: "nan at [0] of the observation after step 4 of an episode",
    InfiniteReward: "a reward of inf in step 2 of an episode",
    Outside: "of the observation part walk after",
    OtherShape: "an observation of shape (3,), its space has (2,)",
    OldReset: "reset(seed=..., options=...) must return (observation, info)",
    OldResetResult: "reset(seed=..., options=...) must return (observation, info)",
    OldStep: "step(action) must return (observation, reward, terminated, truncated, info)",
    Raising: "raised LookupError: no such place",
    Unmakeable: "it cannot be made: OSError: no simulator here",
    OldDone: "all 20 episodes were terminated after exactly 10 steps",
    CloseFails: "its close() raised AttributeError: no window",
    NothingAllowed: "its mask allowed no choice",
    OtherRandomness: "its first observation differs",
    Remembering: "step 1 differs, after equal actions",
    with_statistics: "it has running statistics (NormalizeObservation and NormalizeReward)",
}


@pytest.mark.parametrize("environment", BAD, ids=lambda environment: environment.__name__)
def test_a_bad_environment_has_the_finding_of_its_fault_and_no_other(environment):
    report = check_environment(environment, steps=200)
    [finding] = report.findings
    assert f"{finding.severity} {finding.name}" == BAD[environment]
    assert WORDS.get(environment, "") in finding.what
    assert finding.what.endswith(".")
    assert finding.advice.endswith((".", "`."))
    assert report.prevents_training == (finding.severity == "error")


def test_a_good_environment_has_no_finding_and_its_facts_are_reported():
    assert check_environment(with_statistics_that_are_fixed, steps=300).findings == ()
    report = check_environment(Good, steps=300, info_keys=["is_success"])
    assert report.findings == ()
    assert not report.prevents_training
    assert report.facts["network inputs"] == "2 (2; vector)"
    assert report.facts["network outputs"] == "1"
    assert report.facts["distribution"] == "Gaussian"
    # The standard deviation is also a weight.
    weights = (2 + 1) * 64 + (64 + 1) * 64 + (64 + 1) * 1 + 1
    assert report.facts["default network"] == f"Dense 64, Dense 64; {weights:,} weights in all"
    assert "of random actions" in report.facts["episodes"]


def test_an_environment_that_changes_its_action_is_reproducible():
    class Doubling(Good):
        def step(self, action):
            action *= 2
            return super().step(action)

    assert check_environment(Doubling, steps=300).findings == ()


def test_a_time_limit_counts_even_if_no_episode_reaches_it():
    report = check_environment(lambda: gym.wrappers.TimeLimit(Endless(), 1000), steps=50)
    assert report.findings == ()
    assert report.facts["time limit"] == "that of a wrapper"


@pytest.mark.parametrize(
    ("environment", "making", "words"),
    [
        (Good(), {}, "by a function that makes it; a Good is neither (give the class, not an object of it)"),
        (Good, {"env_kwargs": {"size": 3}}, "env_kwargs go with an environment id"),
        (Good, {"wrappers": ["gymnasium:NoSuchWrapper"]}, "the wrapper gymnasium:NoSuchWrapper cannot be imported"),
        (Good, {"action_masks": "info"}, "can be masked, not those of Box"),
    ],
    ids=["object", "arguments", "wrapper", "masks"],
)
def test_what_is_wrong_with_an_argument_does_not_blame_the_environment(environment, making, words):
    [finding] = check_environment(environment, steps=10, **making).findings
    assert finding.name == "cannot-be-made"
    assert words in finding.what
    assert finding.advice.startswith("correct ")


def test_a_key_that_no_info_has_is_a_finding():
    [finding] = check_environment(Good, steps=100, info_keys=["is_success", "score"]).findings
    assert finding.name == "no-figure"
    assert "'score'" in finding.what


def test_a_replay_takes_at_most_as_many_steps_as_were_asked_for():
    taken = []

    class Counting(Good):
        def step(self, action):
            taken.append(action)
            return super().step(action)

    check_environment(Counting, steps=3)
    assert len(taken) == 9


def test_errors_come_first():
    class Several(Raising):
        action_space = Unbounded.action_space

    findings = check_environment(Several, steps=100).findings
    assert [finding.severity for finding in findings] == ["error", "warning"]


@pytest.mark.parametrize(("name", "value"), [("steps", 0), ("steps", 1.5), ("seed", -1)])
def test_bad_arguments_are_refused(name, value):
    with pytest.raises((TypeError, ValueError), match=name):
        check_environment(Good, **{name: value})
