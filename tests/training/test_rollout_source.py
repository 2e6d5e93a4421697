"""A fit on rollouts of a user's own source: the trainer asks it for no more than the interface has."""

import numpy as np
import pytest
from gymnasium.vector import VectorWrapper

from tf_trpo.callbacks import Checkpoint
from tf_trpo.environments import EnvironmentFailedError, InvalidStepError, make_vector_environment
from tf_trpo.rollouts import LocalSource, Rollout, RolloutSource, make_actor
from tf_trpo.training import CheckpointError, TrainingFailedError

T, B = 32, 2


class Walk:
    """Pays for actions near -0.5 of what is seen; an episode has six steps, and then a row that is none."""

    num_envs = B

    def __init__(self, *, exact=True, faults=(), fails=()):
        self._exact, self._faults, self._fails = exact, faults, fails
        self._rng = np.random.default_rng(0)
        self.time, self.calls, self.restarts, self.cut = np.zeros(B, np.int64), 0, 0, []

    def collect(self, weights, noise):
        self.calls += 1
        if self.calls in self._faults:
            raise InvalidStepError(f"no number in call {self.calls}")
        if self.calls in self._fails:
            raise EnvironmentFailedError("the robot is away")
        self.weights = [weight.copy() for weight in weights]
        seen = self._rng.normal(size=(T + 1, B, 3)).astype(np.float32)
        actions = noise.astype(np.float32)
        time = (self.time + np.arange(T)[:, None]) % 7
        self.time = (self.time + T) % 7
        valid, ended = time < 6, time == 5
        rewards = np.where(valid, -np.abs(np.float64(actions[..., 0]) + 0.5 * seen[:-1, :, 0]), 0.0)
        return Rollout(seen, actions, rewards, ended, np.zeros_like(ended), valid)

    def restart(self):
        self.restarts += 1
        self.time = np.zeros(B, np.int64)

    def restart_some(self, chosen):
        self.cut.append(chosen.tolist())
        self.time[chosen] = 0

    def state(self):
        return {"time": self.time.copy(), "generator": self._rng.bit_generator.state, "calls": self.calls}

    def restore(self, state):
        if state["time"].shape != (B,):
            raise ValueError("the times are those of another walk")
        self.time, self.calls = state["time"].copy(), state["calls"]
        self._rng.bit_generator.state = state["generator"]
        return self._exact

    def close(self):
        raise AssertionError("the source is the caller's own")


FIT = {"num_steps": T, "seed": 3, "verbose": 0}


def test_a_source_is_what_has_its_methods():
    assert isinstance(Walk(), RolloutSource)
    assert not isinstance(object(), RolloutSource)


def test_a_source_without_some_methods_is_told_which_it_lacks(borrow_agent):
    class Half:
        num_envs = B
        collect, restart, state = Walk.collect, Walk.restart, Walk.state

    with pytest.raises(ValueError, match=r"Half is no source of rollouts: it lacks restart_some, restore, close$"):
        borrow_agent("Pendulum-v1").fit(Half(), 30, **FIT)


@pytest.mark.parametrize(
    "argument", [{"num_envs": 3}, {"info_keys": ["a"]}, {"env_timeout": 2.0}, {"wrappers": ["a:b"]}]
)
def test_what_makes_environments_is_refused(argument, borrow_agent):
    with pytest.raises(ValueError, match="would have no effect: the environments of the source are made already"):
        borrow_agent("Pendulum-v1").fit(Walk(), 30, **argument, **FIT)


def test_environments_of_other_spaces_are_refused(borrow_agent, make_agent):
    environments = make_vector_environment("CartPole-v1", B)
    source = LocalSource(environments, make_actor(make_agent("CartPole-v1").policy, B), seed=0)
    with pytest.raises(ValueError, match=r"the agent observes .*, the environment gives"):
        borrow_agent("Pendulum-v1").fit(source, 30, **FIT)
    source.close()


@pytest.mark.parametrize("exact", [True, False])
def test_it_learns_and_goes_on_as_the_source_says(
    exact, borrow_agent, variables_of, assert_same_weights, tmp_path, says
):
    whole, source = borrow_agent("Pendulum-v1"), Walk()
    expected = whole.fit(source, 300, callbacks=Checkpoint(tmp_path, 1, keep=9), **FIT).history
    assert expected["rollout/ep_len_mean"] == [6.0] * 6
    assert int(whole.env_steps) == expected["time/total_timesteps"][-1] >= 300
    # It was given the weights as they were before the last update.
    assert not np.array_equal(source.weights[0], whole.policy.get_weights()[0])
    third = sorted(tmp_path.iterdir())[2]
    resumed, walk = borrow_agent("Pendulum-v1"), Walk(exact=exact)
    if exact:
        history = resumed.fit(walk, 300, resume_from=third, **FIT).history
        assert_same_weights(variables_of(resumed), variables_of(whole))
        assert history["train/value_loss"] == expected["train/value_loss"][3:]
    else:
        with says("the environments begin new episodes"):
            resumed.fit(walk, 300, resume_from=third, **FIT)
    assert walk.calls == 6


def test_a_state_that_the_source_refuses_leaves_the_agent_as_it_was(
    borrow_agent, variables_of, assert_same_weights, tmp_path
):
    borrow_agent("Pendulum-v1").fit(Walk(), 30, callbacks=Checkpoint(tmp_path, None), **FIT)
    agent, other = borrow_agent("Pendulum-v1"), Walk()
    other.restore = lambda state: state["legs"]
    before = variables_of(agent)
    with pytest.raises(CheckpointError, match="is not a checkpoint of this run: 'legs'"):
        agent.fit(other, 30, resume_from=tmp_path, **FIT)
    assert_same_weights(variables_of(agent), before)


def test_it_is_restarted_after_a_fault_and_in_turns_and_its_failures_are_named(borrow_agent, tmp_path):
    agent, source = borrow_agent("Pendulum-v1"), Walk(faults=(2, 3), fails=(8,))
    with pytest.raises(
        EnvironmentFailedError, match=r"^the robot is away, in the rollout of iteration 5, after \d+ steps"
    ):
        agent.fit(source, 500, restart_every=4, callbacks=Checkpoint(tmp_path, None), **FIT)
    assert source.restarts == 2
    assert source.cut == [[False, True], [True, False]]
    agent.load_checkpoint(tmp_path)
    assert int(agent.iterations) == 5
    with pytest.raises(TrainingFailedError, match=r"^3 faults in a row, the last one: no number in call 3"):
        agent.fit(Walk(faults=(1, 2, 3)), 30, max_faults=3, **FIT)


def test_environments_that_cannot_be_reset_one_by_one_are_refused_at_once(borrow_agent):
    agent = borrow_agent("Pendulum-v1")
    environments = VectorWrapper(make_vector_environment("Pendulum-v1", B))
    source = LocalSource(environments, make_actor(agent.policy, B), seed=0)
    with pytest.raises(ValueError, match=r"^restart_every needs environments that can be reset one by one "):
        agent.fit(source, T * B, restart_every=4, **FIT)
    source.close()


@pytest.mark.parametrize("memory", [None, "gru"])
def test_episodes_that_a_fit_left_unfinished_begin_again(memory, make_agent):
    """The next fit does not know their returns so far, and the memory of its value function only their ends."""
    agent = make_agent("Pendulum-v1", policy={"memory": memory})
    source = LocalSource(make_vector_environment("Pendulum-v1", B), make_actor(agent.policy, B), seed=0)
    for expected in (0, 1):
        agent.fit(source, T * B, **FIT)
        assert source.episodes.numbers.tolist() == [expected] * B
    source.environments.close()


@pytest.mark.parametrize("error", [KeyboardInterrupt, EnvironmentFailedError, InvalidStepError])
def test_episodes_of_a_first_rollout_that_did_not_end_begin_again(error, borrow_agent, monkeypatch):
    agent = borrow_agent("Pendulum-v1")
    environments = make_vector_environment("Pendulum-v1", B)
    source = LocalSource(environments, make_actor(agent.policy, B), seed=0)
    step, left = environments.step, iter(range(6, -1, -1))

    def interrupted(actions):
        if not next(left):
            raise error
        return step(actions)

    with monkeypatch.context() as patch:
        patch.setattr(environments, "step", interrupted)
        with pytest.raises((error, TrainingFailedError)):
            agent.fit(source, T * B, max_faults=1, **FIT)
    failed = source.episodes.numbers.copy()
    agent.fit(source, T * B, **FIT)
    assert (source.episodes.numbers == failed + 1).all()
    source.close()


def test_episodes_that_could_not_begin_begin_again(borrow_agent, monkeypatch):
    agent = borrow_agent("Pendulum-v1")
    source = LocalSource(make_vector_environment("Pendulum-v1", B), make_actor(agent.policy, B), seed=0)
    with monkeypatch.context() as patch:
        patch.setattr(source.environments, "reset", None)
        with pytest.raises(EnvironmentFailedError):
            source.restart()
    failed = source.episodes.numbers.copy()
    agent.fit(source, T * B, **FIT)
    assert (source.episodes.numbers > failed).all()
    source.close()


@pytest.mark.parametrize("memory", [None, "gru"])
def test_episodes_that_were_restored_begin_again(memory, make_agent):
    agent = make_agent("Pendulum-v1", policy={"memory": memory})
    left, restored = (
        LocalSource(make_vector_environment("Pendulum-v1", B), make_actor(agent.policy, B), seed=0) for _ in range(2)
    )
    agent.fit(left, T * B, **FIT)
    assert restored.restore(left.state())
    assert restored.episodes.numbers.tolist() == [0] * B
    agent.fit(restored, T * B, **FIT)
    assert restored.episodes.numbers.tolist() == [1] * B
    for source in (left, restored):
        source.close()
