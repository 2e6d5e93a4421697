"""Settings of the rollouts and of the run, and which of all settings a result depends on.

The settings of the other parts of an experiment live with what they are about.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Literal

from tf_trpo.lazy import tensorflow as tf
from tf_trpo.ranges import LARGEST_INTEGER, require, require_allowed
from tf_trpo.rollouts.shards import Spread
from tf_trpo.training.settings import JitCompile

SEEDS = f"[0, {LARGEST_INTEGER}]"
"""Seeds of stateless random operations are int32."""
EPISODES = "[1, 1000000]"
_STEPS = "[1, 1e15]"
_EVERY = "[0, 1e15]"
_LARGEST_BATCH = 50_000_000


@dataclasses.dataclass(frozen=True)
class EnvironmentSettings:
    """How an environment is made from its id.

    Raises:
      ValueError: a setting is of another form.
    """

    env_kwargs: dict[str, Any] | None = None
    """Arguments of the environment, as a JSON object on the command line: '{"map_name": "8x8"}'."""
    wrapper: tuple[str, ...] = ()
    """Wrappers to put on it in this order, each as module:Class, or module:Class(4) with a number for the class."""
    frame_stack: int = 1
    """Observations to join as one, after the wrappers, in [1, 64]: what a policy without a memory knows of the past."""
    action_masks: Literal["auto", "info", "off"] = "auto"
    """Masks of actions that are not allowed: by the environment's action_masks(), if it has that method; by
    info["action_mask"]; or by neither. An entry action_mask of the observation always counts."""

    info_keys: tuple[str, ...] = ()
    """Numbers in the infos at episode ends to log, such as is_success, as rollout/info/is_success."""

    costs: tuple[str, ...] = ()
    """Costs besides the reward: numbers in the infos of all steps, by their keys, or functions of a step, each as
    module:function. The algorithm says what they are for; without limits, they are logged."""

    def __post_init__(self) -> None:
        require_allowed(self)
        try:
            same = json.loads(json.dumps(self.env_kwargs, allow_nan=False)) == self.env_kwargs
        except (TypeError, ValueError, RecursionError):
            same = False
        require(same, "env_kwargs", "a JSON object", self.env_kwargs)
        require(all(self.info_keys), "info_keys", "names that are not empty", self.info_keys)
        require(all(self.costs), "costs", "names that are not empty", self.costs)
        require_allowed(self, frame_stack="[1, 64]")
        for name in self.wrapper:
            require(all(part for part in name.split(":", 1)) and ":" in name, "wrapper", "module:Class", name)

    def __hash__(self) -> int:
        return hash(json.dumps(dataclasses.asdict(self), sort_keys=True))

    def arguments(self) -> dict[str, Any]:
        """Give the settings as arguments of `make_vector_environment`, `for_env`, `fit` and `evaluate`."""
        return {
            "env_kwargs": dict(self.env_kwargs or {}),
            "wrappers": [
                *self.wrapper,
                *[f"tf_trpo.environments:FrameStack({self.frame_stack})"] * (self.frame_stack > 1),
            ],
            "action_masks": self.action_masks,
        }


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
    """Step the environments in this process, in a process each (not if they compute by TensorFlow), or by EnvPool (an
    extra)."""
    env_timeout: float = 300.0
    """Seconds that a step of all environments may take with the backend async."""
    shards: int | None = None
    """Groups of equal size of the environments: a group's actions are computed in one batch, and a group is what a
    worker steps. None: by num_envs alone, two from 16 environments on, at most 16."""
    restart_every: int = 0
    """Rollouts after which an environment begins another episode, each in its turn; 0: only when one ends. Cut
    episodes are not in the logs' returns: let so many rollouts be longer than an episode."""

    def __post_init__(self) -> None:
        require_allowed(self, num_envs="[1, 10000]", num_steps="[1, 10000000]")
        require_allowed(self, env_timeout="(0, inf)", restart_every=SEEDS, shards="[1, inf)")
        Spread(self.shards).shards_of(self.num_envs)
        batch = self.num_envs * self.num_steps
        require(batch <= _LARGEST_BATCH, "num_envs times num_steps", f"at most {_LARGEST_BATCH}", batch)
        if self.restart_every and self.backend == "envpool":
            raise ValueError("restart_every must be 0 with the backend envpool, which resets all environments together")


@dataclasses.dataclass(frozen=True)
class CloningSettings:
    """What the agent begins with.

    Raises:
      ValueError: a setting is outside its range, or there is nothing to clone.
    """

    demonstrations: str | None = None
    """Minari dataset to clone before training, by its name or its folder (extra demonstrations); None for none."""
    clone_epochs: int | None = None
    """Passes over the demonstrations, in [1, 10000]; None: 200."""

    def __post_init__(self) -> None:
        require_allowed(self, clone_epochs="[1, 10000]")
        if self.demonstrations is None:
            require(self.clone_epochs is None, "clone_epochs", "None without demonstrations", self.clone_epochs)
        require(self.demonstrations != "", "demonstrations", "a name or a folder", self.demonstrations)


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
    """Environment steps between two checkpoints; 0 writes a checkpoint only when the run ends, stops or
    fails."""
    histogram_every: int = 10_000
    """Environment steps between two histograms of weights and actions in TensorBoard; 0 for none."""
    video_every: int = 0
    """Environment steps between two films of an episode in TensorBoard, by Gymnasium's rgb_array; 0 for none."""
    quiet: bool = False
    """Print nothing but errors and, when a signal stops the run, how to continue."""
    export: bool = False
    """Also export a SavedModel, to RUN_DIR/saved_model."""
    workers: int = 0
    """Processes that step the environments (Ray's, an extra); 0 for this one. The result is bit for bit the same."""
    ray_address: str | None = None
    """Ray cluster of the workers, auto or HOST:PORT, of which this machine is one; None for workers of this machine."""
    allow_different_workers: bool = False
    """Take workers with other versions, or whose processors compute otherwise, too: then the result is not the same."""
    update_parts: int | None = None
    """Equal parts of a batch that workers, if there are any, compute the policy's update on, for batches above about
    50,000 samples; the result depends on their number, in [1, 10000]. None: all at once, in this process."""
    threads: int = 0
    """Threads that TensorFlow computes with; 0 for all cores."""
    jit_compile: JitCompile = "auto"
    """Compile the update by XLA; the results agree to rounding. auto: unless XLA cannot compile it, or there are
    convolutions on a CPU, which XLA computes nine times slower."""
    max_faults: int = 10
    """Rollouts or updates in a row with numbers that are not finite, at which the run ends."""

    def __post_init__(self) -> None:
        require_allowed(self, total_steps=_STEPS, schedule_steps=_STEPS, seed=SEEDS, eval_episodes=EPISODES)
        require_allowed(self, eval_every=_EVERY, checkpoint_every=_EVERY, histogram_every=_EVERY, video_every=_EVERY)
        require_allowed(self, threads="[0, 1024]", max_faults="[1, inf)", workers="[0, 10000]")
        require_allowed(self, update_parts="[1, 10000]")
        self.spread(None)

    def spread(self, shards: int | None) -> Spread:
        """Give how environments are spread over shards and workers; raise ValueError if a setting has no use."""
        return Spread(shards, self.workers, self.ray_address, self.allow_different_workers)


_IMMATERIAL = {field.name for field in dataclasses.fields(RunSettings)} - {"total_steps", "schedule_steps", "seed"}
_IMMATERIAL -= {"update_parts"}
_IMMATERIAL |= {"chunk_size", "fisher_vector_product"}
"""Settings that change no more of a result than rounding."""
_FIRST = ("env", "algorithm", "max_kl", "natural_max_kl", "target_kl", "total_steps", "seed")


def hyperparameters(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Select those settings of a config.json that the run's result depends on, the foremost first."""
    names = dict.fromkeys((*_FIRST, *settings))
    return {name: settings[name] for name in names if name in settings and name not in _IMMATERIAL}


def use_threads(threads: int) -> None:
    """Let TensorFlow compute with this many threads; 0 leaves its own number.

    Raises:
      ValueError: TensorFlow already runs with another number.
    """
    config = tf.config.threading
    if not threads or config.get_intra_op_parallelism_threads() == threads:
        return
    try:
        config.set_intra_op_parallelism_threads(threads)
        # The stages of an update that run at the same time would take a core each.
        config.set_inter_op_parallelism_threads(threads)
    except RuntimeError:
        raise ValueError("threads must be set before TensorFlow starts: begin with them in a new process") from None
