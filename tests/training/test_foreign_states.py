"""States of strangers in whole checkpoint files: refused, and the agent stays as it was in every bit."""

import copy
import functools
import operator

import numpy as np
import pytest

from tf_trpo.callbacks import Checkpoint
from tf_trpo.environments import make_vector_environment
from tf_trpo.training import CheckpointError
from tf_trpo.training.checkpoint import read_checkpoint, write_checkpoint

FIT = {"num_steps": 16, "seed": 3, "verbose": 0}


@pytest.fixture(scope="module")
def run(make_agent, tmp_path_factory):
    """An agent, its trainer, and a state of a fit by an equal agent that was broken off early."""
    folder, environments = tmp_path_factory.mktemp("written"), make_vector_environment("CartPole-v1", 2)
    agent, checkpoints = make_agent("CartPole-v1"), Checkpoint(folder, 1, keep=9)
    agent.fit(environments, 60, callbacks=checkpoints, **FIT)
    _, state = read_checkpoint(min(folder.iterdir()))
    yield agent, checkpoints.params["trainer"], state
    environments.close()


GONE = object()


def filled(number):
    return lambda array: np.full_like(array, number)


PARTS = ("policy", "value function", "return scale", "value optimizer")
OF_AGENT = {
    **{f"no {part}": (GONE, "learner", part) for part in PARTS},
    **{f"{part} not finite": (filled(np.nan), "learner", part, 0) for part in ("policy", "value function")},
    "no learner": (GONE, "learner"),
    "a learner that is a list": (list, "learner"),
    "one variable less": (GONE, "learner", "policy", -1),
    "one variable more": (lambda variables: [*variables, np.zeros(3)], "learner", "policy"),
    "no average": ([], "learner", "average"),
    "variables by name": (lambda found: {str(i): array for i, array in enumerate(found)}, "learner", "policy"),
    "another shape": (lambda array: array[None], "learner", "policy", -1),
    "a larger shape": (np.zeros((1000, 1000), np.float32), "learner", "policy", -1),
    "another type": (lambda array: array.astype(np.float64), "learner", "policy", -1),
    "a number in place of an array": (1.5, "learner", "policy", -1),
    "text in place of an array": ("os.system", "learner", "policy", -1),
    "an infinite moment": (filled(np.inf), "learner", "value optimizer", -1),
    "no steps": (GONE, "env_steps"),
    "negative steps": (-1, "env_steps"),
    "steps beyond int64": (2**63, "env_steps"),
    "half a step": (0.5, "env_steps"),
    "steps in text": ("7", "env_steps"),
    "steps that are true": (True, "env_steps"),
    "iterations that are nothing": (None, "iterations"),
    "iterations in an array": (np.array(3), "iterations"),
}
OF_RUN = {
    "no identity": (GONE, "identity"),
    "another identity": (7, "identity", "seed"),
    "an identity of one thing more": (1, "identity", "more"),
    "an identity that is text": ("gamma", "identity"),
    "an identity without end": (functools.reduce(lambda inner, _: {"a": inner}, range(400), 0), "identity", "seed"),
    "no source": (GONE, "source"),
    "no report": (GONE, "report"),
    "negative faults": (-1, "faults"),
    "a first iteration to come": (10**6, "first_iteration"),
    "first steps to come": (10**6, "report", "first_steps"),
    "a time that is no number": ("long", "report", "elapsed"),
    "a negative time": (-1.0, "report", "elapsed"),
    "returns of other environments": (np.zeros(3, np.float32), "carry", 0),
    "returns of another type": (np.zeros(2), "carry", 0),
    "returns that are not finite": (filled(np.nan), "carry", 0),
    "returns that are no array": ([0.0, 0.0], "carry", 0),
    "memories of an agent without one": (lambda carry: [*carry, np.zeros((2, 4), np.float32)], "carry"),
    "what an agent without a memory remembers": ([np.zeros((2, 4), np.float32)], "source", "memory"),
    "observations of another shape": (lambda array: array[:1], "source", "observations", 0),
    "observations that are not finite": (filled(np.inf), "source", "observations", 0),
    "ends of another type": (np.zeros(2), "source", "just_ended"),
    "negative episodes": (filled(-1), "source", "episodes"),
    "a fit that began before the agent": (-1, "source", "began_at"),
    "a fit that began within an iteration": (0.5, "source", "began_at"),
    "actions of fewer environments": (GONE, "source", "actions", 0),
    "actions of another shape": (lambda array: array[None], "source", "actions", 0),
    "actions of another type": (lambda array: array.astype(np.float32), "source", "actions", 0),
    "no word on actions": (GONE, "source", "actions"),
    "episodes that are a number": (np.array(3.0), "report", "episodes"),
    "an infinite return": (np.array([[np.inf, 1.0]]), "report", "episodes"),
    "a negative length": (np.array([[1.0, -1.0]]), "report", "episodes"),
    "a negative length so far": (filled(-1), "report", "lengths"),
    "a return so far that is not finite": (filled(np.nan), "report", "returns"),
}


def changed(state, folder, value, *path):
    """A checkpoint of a state with a value at one place, or a function of what is there, or nothing."""
    state, (*way, last) = copy.deepcopy(state), path
    place = functools.reduce(operator.getitem, way, state)
    place[last] = value(place[last]) if callable(value) else value
    if value is GONE:
        del place[last]
    return write_checkpoint(state, folder, 1, keep=1)


@pytest.mark.parametrize("name", [*OF_AGENT, *OF_RUN])
def test_a_state_that_no_such_run_has_is_refused(name, run, variables_of, assert_same_weights, tmp_path):
    agent, trainer, state = run
    before = variables_of(agent)
    path = changed(state, tmp_path, *(OF_AGENT | OF_RUN)[name])
    with pytest.raises(CheckpointError, match=r"1.ckpt is not a checkpoint of this run: ") as refusal:
        trainer.resume(path)
    assert len(str(refusal.value)) < 1000
    if name in OF_AGENT:
        with pytest.raises(CheckpointError, match=r"1.ckpt is not a checkpoint of this agent: "):
            agent.load_checkpoint(path)
    assert_same_weights(variables_of(agent), before)


EPISODES = {
    "an action out of the space": (lambda actions: actions + 7, "source", "actions", 0),
    "more actions than an episode takes": (np.ones(500, np.int32), "source", "actions", 0),
    "another episode": (lambda episodes: episodes + 5, "source", "episodes"),
    "another observation": (lambda array: np.nextafter(array, np.float32(9)), "source", "observations", 0),
}


@pytest.mark.parametrize("name", EPISODES)
@pytest.mark.filterwarnings("ignore:.*You are calling .step")
def test_episodes_that_did_not_happen_are_left_for_new_ones(name, run, tmp_path, says):
    agent, trainer, state = run
    with says("the environments begin new episodes"):
        trainer.resume(changed(state, tmp_path, *EPISODES[name]))
    assert int(agent.env_steps) == state["env_steps"]


def test_the_state_itself_is_taken(run, variables_of, assert_same_weights, tmp_path):
    agent, trainer, state = run
    path = write_checkpoint(state, tmp_path, 1, keep=1)
    trainer.resume(path)
    expected = [array for arrays in state["learner"].values() for array in arrays]
    assert_same_weights(variables_of(agent)[: len(expected)], expected)
    again = trainer.state()
    np.testing.assert_array_equal(again["source"]["observations"], state["source"]["observations"])
    assert again["env_steps"] == state["env_steps"]
    agent.load_checkpoint(path)
    assert_same_weights(variables_of(agent)[: len(expected)], expected)


def test_what_is_not_finite_is_not_written(run, tmp_path):
    agent, trainer, _ = run
    weight = agent.value_function.trainable_weights[0]
    before = weight.numpy()
    weight.assign(before * np.nan)
    with pytest.raises(RuntimeError, match="of the value function is not finite"):
        trainer.save_checkpoint(tmp_path)
    weight.assign(before)
    assert not any(tmp_path.iterdir())
