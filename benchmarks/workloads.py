"""The workloads of our measurements: each function prepares the work, and returns a function that does it once."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Literal, NamedTuple

import gymnasium as gym
import keras
import numpy as np
import tensorflow as tf

import tf_trpo
from benchmarks.timing import seconds
from tf_trpo.environments import VectorBackend, make_vector_environment
from tf_trpo.estimation import Batch, normalize_advantages
from tf_trpo.learning import UpdateSettings
from tf_trpo.models.cells import MemoryKind
from tf_trpo.models.settings import PolicySettings, ValueSettings
from tf_trpo.optimizers import NaturalDirection, Outcome, TrustRegion
from tf_trpo.rollouts import EpisodeTracker, LocalSource, Rollout, make_actor

_START = tf.constant(0.0, tf.float64)
"""Progress at the beginning of a run."""


class Job(NamedTuple):
    """A description of the work, for us and for the peer."""

    work: Literal["update", "train", "collect"]
    env: str
    num_envs: int = 1
    num_steps: int = 2048
    hidden_sizes: tuple[int, ...] = (64, 64)
    cg_iterations: int = 15
    curvature_fraction: float | None = None
    preconditioner_rank: int = 0
    value_epochs: int = 10
    value_minibatch_size: int = 128
    iterations: int = 8
    threads: int = 0
    memory: MemoryKind | None = None
    segment_length: int | None = None


def make_agent(job: Job) -> tf_trpo.TRPO:
    """Make an agent with the job's settings, sb3-contrib's trust region, and without an early end of CG."""
    agent = tf_trpo.TRPO.for_env(
        job.env,
        policy=PolicySettings(hidden_sizes=job.hidden_sizes, memory=job.memory),
        value=ValueSettings(value_hidden_sizes=job.hidden_sizes),
        seed=0,
    )
    num_actions = np.size(getattr(agent.policy.action_distribution, "action_low", 0))
    direction = NaturalDirection(
        job.cg_iterations,
        cg_tolerance=0.0,
        curvature_fraction=job.curvature_fraction,
        preconditioner_rank=job.preconditioner_rank,
    )
    epochs, size = job.value_epochs, job.value_minibatch_size
    agent.compile(
        # sb3-contrib averages the KL over action dimensions; our KL is joint.
        TrustRegion(0.01 * num_actions, direction=direction),
        update=UpdateSettings(value_epochs=epochs, value_minibatch_size=size, segment_length=job.segment_length),
    )
    return agent


def collect_rollout(agent: tf_trpo.TRPO, job: Job) -> Rollout:
    """Collect one rollout with the agent's policy."""
    environments = make_vector_environment(job.env, job.num_envs)
    try:
        source = LocalSource(environments, make_actor(agent.policy, job.num_envs), seed=0)
        return source.collect(_weights(agent), _noise(agent, job))
    finally:
        environments.close()


def _weights(agent: tf_trpo.TRPO) -> list[np.ndarray]:
    return [weight.numpy() for weight in agent.policy.weights]


def _noise(agent: tf_trpo.TRPO, job: Job) -> np.ndarray:
    return agent.policy.action_distribution.noise([job.num_steps, job.num_envs], tf.constant([0, 0])).numpy()


def policy_step(job: Job) -> Callable[[], float]:
    """Measure the seconds of the policy optimizer's step on a batch, from the same weights every time."""
    agent = make_agent(job)
    prepared, _ = agent.learner.prepare(collect_rollout(agent, job), agent.learner.first_carry(job.num_envs))
    # As in the measured call of sb3-contrib, inputs are NumPy arrays and advantages are normalised.
    batch = tf.nest.map_structure(np.asarray, prepared.batch)
    state = agent.policy_optimizer.make_state(agent.policy)

    @tf.function(jit_compile=True, autograph=False)
    def step(batch: Batch) -> Outcome:
        advantages = normalize_advantages(batch.advantages, batch.weights)
        return agent.policy_optimizer.step(
            agent.policy, batch._replace(advantages=advantages), state, progress=0.0, gamma=0.99
        )

    return _from_the_same_weights(agent, lambda: _finish(step(batch)))


def update(job: Job) -> Callable[[], float]:
    """Measure the seconds of the whole update after a rollout, advantages included, from the same weights each time."""
    agent = make_agent(job)
    rollout = collect_rollout(agent, job)

    def run() -> None:
        orders = agent.learner.orders(job.num_steps, job.num_envs, np.random.default_rng(0))
        result, _ = agent.learner.update(rollout, agent.learner.first_carry(job.num_envs), orders, _START)
        _finish(result)

    return _from_the_same_weights(agent, run)


def _from_the_same_weights(agent: tf_trpo.TRPO, work: Callable[[], object]) -> Callable[[], float]:
    weights = agent.get_weights()

    def run() -> float:
        agent.set_weights(weights)
        return seconds(work)

    return run


def parts_of_iteration(job: Job, open_environments: ExitStack) -> dict[str, Callable[[], float]]:
    """Measure the seconds of each part of an iteration alone; names with a dash are parts of the entry above."""
    agent = make_agent(job)
    learner = agent.learner
    rollout = collect_rollout(agent, job)
    rows = job.num_steps * job.num_envs
    carry = learner.first_carry(job.num_envs)
    orders = learner.orders(job.num_steps, job.num_envs, np.random.default_rng(0))
    prepared, _ = learner.prepare(rollout, carry)
    collected, stepped = (work(job, "sync", open_environments) for work in (collect, step_at_random))
    again = functools.partial(_from_the_same_weights, agent)
    return {
        "collection": lambda: rows / collected(),
        "- stepping the environment (random actions)": lambda: rows / stepped(),
        "update": again(lambda: _finish(learner.update(rollout, carry, orders, _START))),
        "- advantages and value targets": lambda: seconds(lambda: _finish(learner.prepare(rollout, carry))),
        "- policy step and its figures": again(lambda: _finish(learner.improve_policy(prepared, _START))),
        "- value regression, at the same time": lambda: seconds(
            lambda: _finish(learner.fit_value_functions(prepared, orders))
        ),
    }


def _finish(results: Any) -> None:
    """Wait for all results."""
    for figure in tf.nest.flatten(results):
        if figure is not None:
            np.asarray(figure)


class _Progress(keras.callbacks.Callback):
    """Records time and environment steps at the beginning of each iteration and at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.marks: list[tuple[float, int]] = []

    def _mark(self) -> None:
        self.marks.append((time.perf_counter(), int(self.model.env_steps.numpy())))

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._mark()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._mark()


def train(job: Job, backend: VectorBackend, open_environments: ExitStack) -> Callable[[], float]:
    """Measure the steps per second of whole iterations of `fit`, except the first one, which compiles."""
    agent = make_agent(job)
    rows = job.num_steps * job.num_envs
    environments = make_vector_environment(job.env, job.num_envs, backend=backend)
    open_environments.callback(environments.close)

    def repeat() -> float:
        progress = _Progress()
        total_steps = rows * (job.iterations + 1)
        agent.fit(environments, total_steps, num_steps=job.num_steps, callbacks=[progress], verbose=0)
        (start, steps_before), (end, steps_after) = progress.marks[1], progress.marks[-1]
        return (steps_after - steps_before) / (end - start)

    return repeat


def collect(job: Job, backend: VectorBackend, open_environments: ExitStack, shards: int = 1) -> Callable[[], float]:
    """Measure the steps per second of an iteration without its update, including episode statistics."""
    agent = make_agent(job)
    environments = make_vector_environment(job.env, job.num_envs, backend=backend)
    open_environments.callback(environments.close)
    source = LocalSource(environments, make_actor(agent.policy, job.num_envs, shards=shards), seed=0)
    tracker = EpisodeTracker(job.num_envs)

    def run() -> float:
        start = time.perf_counter()
        rollout = source.collect(_weights(agent), _noise(agent, job))
        tracker.finished(rollout)
        return float(rollout.valid.sum()) / (time.perf_counter() - start)

    return run


def act(job: Job) -> Callable[[], float]:
    """Measure the seconds that the policy takes for the actions of all environments in one step, as a mean."""
    agent = make_agent(job)
    observed, noise = collect_rollout(agent, job).observations, _noise(agent, job)
    rows = [tf.nest.map_structure(lambda part, t=t: part[t], observed) for t in range(job.num_steps)]
    actor = make_actor(agent.policy, job.num_envs)

    def run() -> float:
        states, start = actor.initial_states, time.perf_counter()
        for row, draw in zip(rows, noise, strict=True):
            states = actor(row, draw, states).states
        return (time.perf_counter() - start) / job.num_steps

    return run


def step_at_random(
    job: Job, backend: VectorBackend, open_environments: ExitStack, *, gymnasium: bool = False
) -> Callable[[], float]:
    """Measure the steps per second of a vector environment with random actions drawn in advance: the upper limit.

    Args:
      job: job with the number of environments and steps.
      backend: "sync", "envpool" or "vector".
      open_environments: closes the environments at its end.
      gymnasium: step Gymnasium's own vector environment instead of ours: of "sync", which has infos; of "vector", which
        has no checks.
    """
    if not gymnasium:
        environments = make_vector_environment(job.env, job.num_envs, backend=backend)
    elif backend == "vector":
        environments = gym.make_vec(job.env, job.num_envs, "vector_entry_point")
    else:
        environments = gym.make_vec(job.env, job.num_envs, "sync", vector_kwargs={"copy": False})
    open_environments.callback(environments.close)
    environments.action_space.seed(0)
    environments.reset(seed=0)
    actions = [environments.action_space.sample() for _ in range(job.num_steps)]

    def run() -> float:
        ended = []
        start = time.perf_counter()
        for action in actions:
            _, _, terminated, truncated, _ = environments.step(action)
            ended.append((terminated, truncated))
        taken = time.perf_counter() - start
        # The call after the end of an episode is a reset and not a step.
        return (job.num_steps * job.num_envs - np.sum(ended)) / taken

    return run
