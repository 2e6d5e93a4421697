"""Settings of environments, rollouts, the start and the run, and the selection of settings on which a result depends.

The settings of the other parts of an experiment are in the packages of those parts.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Literal

from tf_trpo.learning.settings import ROUNDING, JitCompile
from tf_trpo.ranges import LARGEST_INTEGER, require, require_allowed
from tf_trpo.rollouts.shards import Spread

ActionMasks = Literal["auto", "info", "off"]
"""As `tf_trpo.environments.ActionMasks`, which cannot be imported without Gymnasium."""
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
      ValueError: a setting has the wrong form or is outside its range.
    """

    env_kwargs: dict[str, Any] | None = None
    """Arguments of the environment; on the command line a JSON object, such as '{"map_name": "8x8"}'."""
    wrapper: tuple[str, ...] = ()
    """Wrappers to apply in this order, each as module:Class, or module:Class(4) with an integer argument."""
    frame_stack: int = 1
    """Number of latest observations to stack, after the wrappers, in [1, 64]."""
    action_masks: ActionMasks = "auto"
    """Where masks of allowed actions come from. auto: the environment's method action_masks(), if it has one; info:
    info["action_mask"]; off: neither. An entry action_mask of the observation is always used."""

    info_keys: tuple[str, ...] = ()
    """Numbers in the infos of episode ends to log: is_success is logged as rollout/info/is_success."""

    costs: tuple[str, ...] = ()
    """Costs in addition to the reward: keys of numbers in the infos of all steps, or functions of a step as
    module:function. Constrained algorithms limit them; otherwise they are only logged."""

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
        """Return the settings as arguments of `make_vector_environment`, `for_env`, `fit` and `evaluate`."""
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
    """How rollouts are collected: line 4 of Algorithm 1.

    Raises:
      ValueError: a setting is outside its range.
    """

    num_envs: int = 1
    """Number of environments that are stepped together."""
    num_steps: int = 2048
    """Rows of a rollout: steps of each environment in an iteration."""
    backend: Literal["sync", "async", "envpool", "vector"] = "sync"
    """sync: step in this process; async: one process for each environment, which must not use TensorFlow; envpool: by
    EnvPool, an extra; vector: all together, by the environment's vector entry point."""
    env_timeout: float = 300.0
    """Seconds that a step of all environments may take with the backend async."""
    shards: int | None = None
    """Number of groups of equal size into which the environments are divided. Each group's actions are computed in one
    batch, and each worker steps whole groups. None: chosen by num_envs, 1 below 16 environments, never over 16."""
    restart_every: int = 0
    """Restart each environment once in this many rollouts, one environment after the other, which cuts its episode; 0:
    never. A cut episode is not logged, so restart_every times num_steps should exceed the length of an episode."""

    def __post_init__(self) -> None:
        require_allowed(self, num_envs="[1, 10000]", num_steps="[1, 10000000]")
        require_allowed(self, env_timeout="(0, inf)", restart_every=SEEDS, shards="[1, inf)")
        Spread(self.shards).shards_of(self.num_envs)
        batch = self.num_envs * self.num_steps
        require(batch <= _LARGEST_BATCH, "num_envs times num_steps", f"at most {_LARGEST_BATCH}", batch)
        if self.restart_every and self.steps_together:
            reason = "which resets all environments together"
            raise ValueError(f"restart_every must be 0 with the backend {self.backend}, {reason}")

    @property
    def steps_together(self) -> bool:
        """Whether the environments are one object, which takes no wrappers and resets all of them together."""
        return self.backend in ("envpool", "vector")


@dataclasses.dataclass(frozen=True)
class StartSettings:
    """The policy with which training starts, if it is not a random one.

    Raises:
      ValueError: a setting is outside its range, or two settings exclude each other.
    """

    demonstrations: str | None = None
    """Minari dataset to clone before training, by name or folder (extra demonstrations); None for no cloning."""
    clone_epochs: int | None = None
    """Passes over the demonstrations, in [1, 10000]; None: 200."""
    anchor: str | None = None
    """File of a saved agent (agent.keras): training begins with its policy, and stays near it, within anchor_kl."""

    def __post_init__(self) -> None:
        require_allowed(self, clone_epochs="[1, 10000]")
        if self.demonstrations is None:
            require(self.clone_epochs is None, "clone_epochs", "None without demonstrations", self.clone_epochs)
        require(self.demonstrations != "", "demonstrations", "a name or a folder", self.demonstrations)
        if self.anchor is not None:
            only = "None with an anchor, since training begins with one of them"
            require(self.demonstrations is None, "demonstrations", only, self.demonstrations)


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """The run: its length, seed, evaluations, checkpoints, logs and resources.

    Raises:
      ValueError: a setting is outside its range.
    """

    total_steps: int = 100_000
    """Environment steps to train for, summed over all environments."""
    schedule_steps: int | None = None
    """Environment steps after which schedules, such as that of final_max_kl, end; None for total_steps."""
    seed: int = 0
    """Seed of the run; on one machine, the same seed gives the same weights."""
    eval_every: int = 0
    """Environment steps between evaluations during training; 0 for none."""
    eval_episodes: int = 20
    """Episodes of an evaluation, also of the final one after training."""
    eval_envs: int | None = None
    """Number of environments that an evaluation opens and steps together; None: one for each episode, at most 10. An
    evaluation during training (eval_every) opens them in addition to those of the training."""
    max_episode_steps: int = 100_000
    """Steps after which an evaluation cuts an episode, with a warning. Training itself does not cut episodes: the
    environment's own time limit does, or the wrapper gymnasium.wrappers:TimeLimit(1000)."""
    checkpoint_every: int = 100_000
    """Environment steps between checkpoints; 0 writes a checkpoint only when the run ends, stops or fails."""
    histogram_every: int = 10_000
    """Environment steps between histograms of weights and actions in TensorBoard; 0 for none."""
    video_every: int = 0
    """Environment steps between films of an episode in TensorBoard, by Gymnasium's rgb_array; 0 for none."""
    quiet: bool = False
    """Print only errors and, if a signal stops the run, how to continue; tune also prints its result."""
    export: bool = False
    """Also export a SavedModel to RUN_DIR/saved_model."""
    workers: int = 0
    """Number of Ray processes (extra ray) that step the environments; 0: this process steps them. The result is the
    same, bit for bit."""
    ray_address: str | None = None
    """Address of the Ray cluster, auto or HOST:PORT; this machine must belong to it. None: workers on this machine."""
    allow_different_workers: bool = False
    """Also use workers whose package versions or processors differ; then the result may differ from one process's."""
    update_parts: int | None = None
    """Number of equal parts of a batch on which the policy's update is computed, by the workers if there are any, in
    [1, 10000]; for large batches and wide networks, with workers on other machines. The result depends on the number of
    parts, not on the workers. None: the whole batch at once, in this process."""
    threads: int = 0
    """Number of TensorFlow's threads; 0 for all cores."""
    jit_compile: JitCompile = "auto"
    """Compile the update by XLA; results differ by rounding only. auto: compile unless XLA cannot compile the update,
    or there are convolutions on a CPU, which XLA computes nine times slower."""
    max_faults: int = 10
    """End the run after this many consecutive rollouts or updates with numbers that are not finite."""

    def __post_init__(self) -> None:
        require_allowed(self, total_steps=_STEPS, schedule_steps=_STEPS, seed=SEEDS, eval_episodes=EPISODES)
        require_allowed(self, eval_every=_EVERY, checkpoint_every=_EVERY, histogram_every=_EVERY, video_every=_EVERY)
        require_allowed(
            self, max_episode_steps=_STEPS, threads="[0, 1024]", max_faults="[1, inf)", workers="[0, 10000]"
        )
        require_allowed(self, update_parts="[1, 10000]", eval_envs="[1, 10000]")
        self.spread(None)

    def spread(self, shards: int | None) -> Spread:
        """Return how environments are spread over shards and workers; raise ValueError if a setting has no effect."""
        return Spread(shards, self.workers, self.ray_address, self.allow_different_workers)


_OF_LEARNING = {"total_steps", "schedule_steps", "seed", "update_parts"}
IMMATERIAL = ROUNDING | {"env_timeout", *(field.name for field in dataclasses.fields(RunSettings))} - _OF_LEARNING
"""Settings that change what a run learns by rounding at most."""
OF_OUTPUT = frozenset(
    {
        *("quiet", "export", "eval_every", "checkpoint_every", "histogram_every", "video_every"),
        *("workers", "ray_address", "allow_different_workers"),
    }
)
"""Those of them that only say what a run writes and which processes compute it: another run has its own."""
ENDS_OF_SCHEDULES = ("final_std", "final_max_kl", "ppo_final_learning_rate")
"""Settings that a run reaches at its end, so that a run depends on its length from the beginning."""
_FIRST = ("env", "algorithm", "max_kl", "natural_max_kl", "target_kl", "total_steps", "seed")


def hyperparameters(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Select the settings of a config.json on which the run's result depends, the most important first."""
    names = dict.fromkeys((*_FIRST, *settings))
    return {name: settings[name] for name in names if name in settings and name not in IMMATERIAL}
