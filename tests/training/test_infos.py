"""Figures of infos in the logs, and environments that callbacks speak to."""

import math

import gymnasium as gym
import keras
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from tf_trpo.callbacks import Checkpoint, Evaluate
from tf_trpo.environments import make_vector_environment
from tf_trpo.optimizers import VanillaPolicyGradient


class Levels(gym.Env):
    """Episodes of `level` steps that succeed if they are even in number; only then there is a "grade" by default."""

    otherwise = None

    observation_space = gym.spaces.Box(-1, 1, (1,))
    action_space = gym.spaces.Discrete(2)

    def __init__(self):
        self.level, self._episodes = 2, 0

    def set_level(self, level):
        self.level = level

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._steps, self._episodes = 0, self._episodes + 1
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self._steps += 1
        info = {"is_success": self._episodes % 2 == 0, "more": {"level": self.level}}
        if info["is_success"]:
            info["grade"] = 3.0
        elif self.otherwise is not None:
            info["grade"] = self.otherwise
        return np.zeros(1, np.float32), 1.0, self._steps == self.level, False, info


@pytest.fixture(scope="module")
def agent(make_agent):
    return make_agent(Levels, VanillaPolicyGradient("sgd"), "sgd")


KEYS = ("is_success", "grade", "more/level", "absent")
SIZES = {"num_envs": 2, "num_steps": 24, "verbose": 0}
VECTORS = {mode.value: lambda mode=mode: SyncVectorEnv([Levels] * 2, autoreset_mode=mode) for mode in AutoresetMode}


@pytest.mark.parametrize("source", ["sync", "async", *VECTORS])
def test_named_infos_are_means_over_the_last_episodes(agent, source, caplog):
    own = VECTORS[source]() if source in VECTORS else None
    made = {"num_envs": 1} if own else {"backend": source}
    logs = agent.fit(own or Levels, 48, **SIZES | made, info_keys=KEYS).history
    assert logs["rollout/info/is_success"][-1] == 0.5
    assert logs["rollout/info/grade"][-1] == 3.0
    assert logs["rollout/info/more/level"][-1] == 2.0
    assert "rollout/info/absent" not in logs
    assert [record.message for record in caplog.records] == ["no info of an episode's last step had the key 'absent'"]
    if own:
        made_before = make_vector_environment(Levels, 2, info_keys=["grade"])
        logs = agent.fit(made_before, 24, **SIZES | {"num_envs": 1}).history
        assert logs["rollout/info/grade"] == [3.0]
        result = agent.evaluate(own, 4, info_keys=KEYS)
        assert (result["info/is_success"], result["info/more/level"]) == (0.5, 2.0)


def test_what_a_wrapper_of_the_vector_adds_counts_too(agent):
    vector = gym.wrappers.vector.RecordEpisodeStatistics(VECTORS["SameStep"]())
    logs = agent.fit(vector, 48, **SIZES | {"num_envs": 1}, info_keys=["episode/l", "is_success"]).history
    assert (logs["rollout/info/episode/l"][-1], logs["rollout/info/is_success"][-1]) == (2.0, 0.5)


@pytest.mark.parametrize("otherwise", [math.inf, -math.inf, math.nan])
def test_a_figure_that_is_not_finite_counts_as_none_and_checkpoints_are_written(
    agent, otherwise, monkeypatch, tmp_path
):
    monkeypatch.setattr(Levels, "otherwise", otherwise)
    logs = agent.fit(Levels, 48, **SIZES, info_keys=["grade"], callbacks=Checkpoint(tmp_path, 1)).history
    assert logs["rollout/info/grade"] == [3.0] * len(logs["rollout/info/grade"])
    assert list(tmp_path.iterdir())
    assert agent.evaluate(Levels, 4, num_envs=1, info_keys=["grade"])["info/grade"] == 3.0


def test_an_evaluation_has_them_too(agent):
    result = agent.evaluate(Levels, 4, num_envs=1, info_keys=KEYS)
    assert (result["info/is_success"], result["info/more/level"]) == (0.5, 2.0)
    evaluating = Evaluate(Levels, 1, episodes=4, num_envs=1, info_keys=["grade"])
    logs = agent.fit(Levels, 24, **SIZES, callbacks=[evaluating]).history
    assert logs["eval/info/grade"] == [3.0] * len(logs["eval/mean_reward"])


def test_a_resumed_fit_still_knows_the_episodes_before(agent, tmp_path):
    agent.fit(Levels, 24, **SIZES, info_keys=KEYS, callbacks=[Checkpoint(tmp_path, None)])
    logs = agent.fit(Levels, 48, **SIZES, info_keys=KEYS, resume_from=tmp_path).history
    assert 0.4 < logs["rollout/info/is_success"][0] < 0.6


def test_a_callback_speaks_to_the_environments(agent):
    class Curriculum(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.params["trainer"].source.environments.unwrapped.call("set_level", 3)

    logs = agent.fit(Levels, 24, **SIZES, info_keys=["more/level"], callbacks=Curriculum()).history
    assert logs["rollout/info/more/level"][-1] == 3.0
