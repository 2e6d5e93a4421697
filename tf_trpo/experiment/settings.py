"""Settings of the rollouts and of the run. The other parts of an experiment live with what they are about."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from tf_trpo.optimizers.ranges import require
from tf_trpo.training.settings import JitCompile

LARGEST_SEED = 2**31 - 1
"""Seeds of stateless random operations are int32."""
_LARGEST_BATCH = 50_000_000
_MOST_STEPS = 10**15


@dataclasses.dataclass(frozen=True)
class RolloutSettings:
    """How environments are stepped: line 4 of Algorithm 1.

    Raises:
      ValueError: a setting is outside its range.
    """

    num_envs: int = 1
    """Environments stepped together."""
    num_steps: int = 2048
    """Rows of a rollout, for each environment and iteration."""
    backend: Literal["sync", "async", "envpool"] = "sync"
    """Step the environments in this process, in a process each, or by EnvPool (an extra)."""
    env_timeout: float = 300.0
    """Seconds that a step of all environments may take with the backend async."""
    restart_every: int = 0
    """Rollouts after which an environment begins another episode, each in its turn; 0: only when one ends. Cut
    episodes are not in the logs' returns: let so many rollouts be longer than an episode."""

    def __post_init__(self) -> None:
        require_within(self, num_envs=(1, 10_000), num_steps=(1, 10_000_000), restart_every=(0, LARGEST_SEED))
        require(0 < self.env_timeout < math.inf, "env_timeout", "positive and finite", self.env_timeout)
        batch = self.num_envs * self.num_steps
        require(batch <= _LARGEST_BATCH, "num_envs times num_steps", f"at most {_LARGEST_BATCH}", batch)
        if self.restart_every and self.backend == "envpool":
            raise ValueError("restart_every must be 0 with the backend envpool, which resets all environments together")


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """The run.

    Raises:
      ValueError: a setting is outside its range.
    """

    total_steps: int = 100_000
    """Environment steps to train for, over all environments."""
    schedule_steps: int | None = None
    """Environment steps over which final_std and final_max_kl are reached; None for total_steps."""
    seed: int = 0
    """Same seed, same weights, on one machine."""
    eval_every: int = 0
    """Environment steps between two evaluations during training; 0 for none."""
    eval_episodes: int = 20
    """Episodes of an evaluation; the last one is when training is over."""
    checkpoint_every: int = 100_000
    """Environment steps between two checkpoints; 0 for one at the end, a stop or a failure only."""
    histogram_every: int = 10_000
    """Environment steps between two histograms of weights and actions in TensorBoard; 0 for none."""
    video_every: int = 0
    """Environment steps between two films of an episode in TensorBoard, by Gymnasium's rgb_array; 0 for none."""
    quiet: bool = False
    """Print nothing but errors and, when a signal stops the run, how to continue."""
    export: bool = False
    """Also export a SavedModel, to RUN_DIR/saved_model."""
    threads: int = 0
    """Threads that TensorFlow computes with; 0 for all cores."""
    jit_compile: JitCompile = "auto"
    """Compile the update by XLA; the results agree to rounding. auto: unless XLA cannot compile it, or there are
    convolutions on a CPU, which XLA computes nine times slower."""
    max_faults: int = 10
    """Rollouts or updates in a row with numbers that are not finite, at which the run ends."""

    def __post_init__(self) -> None:
        every = dict.fromkeys(("eval_every", "checkpoint_every", "histogram_every", "video_every"), (0, _MOST_STEPS))
        require_within(self, total_steps=(1, _MOST_STEPS), schedule_steps=(1, _MOST_STEPS), seed=(0, LARGEST_SEED))
        require_within(self, eval_episodes=(1, 1_000_000), threads=(0, 1024), max_faults=(1, LARGEST_SEED), **every)


def require_within(settings: object, **ranges: tuple[int, int]) -> None:
    """Raise ValueError unless each named setting lies between its bounds, or is None."""
    for name, (lowest, largest) in ranges.items():
        value = getattr(settings, name)
        require(value is None or value >= lowest, name, f"at least {lowest}", value)
        require(value is None or value <= largest, name, f"at most {largest}", value)
