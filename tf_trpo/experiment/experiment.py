"""An experiment: all settings of a training run as one value."""

from __future__ import annotations

import dataclasses
import os
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tf_trpo.experiment.conversion import Flat, changed, flat, leaves
from tf_trpo.experiment.presets import bundled_for, bundled_presets, layered, read_preset
from tf_trpo.experiment.run_folder import RunFolder
from tf_trpo.experiment.settings import CloningSettings, EnvironmentSettings, RolloutSettings, RunSettings, use_threads
from tf_trpo.models.settings import PolicySettings, ValueSettings
from tf_trpo.optimizers import (
    ClippedSurrogate,
    ConstrainedTrustRegion,
    KLPenalty,
    LagrangianTrustRegion,
    NaturalPolicyGradient,
    TrustRegion,
    VanillaPolicyGradient,
)
from tf_trpo.ranges import require, require_allowed
from tf_trpo.rollouts.vine import VineSettings
from tf_trpo.training.settings import UpdateSettings

if TYPE_CHECKING:
    import keras

    from tf_trpo.experiment.run import TrainedRun
    from tf_trpo.training import TRPO

Algorithm = (
    TrustRegion
    | NaturalPolicyGradient
    | VanillaPolicyGradient
    | KLPenalty
    | ClippedSurrogate
    | ConstrainedTrustRegion
    | LagrangianTrustRegion
)


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Train an agent by Trust Region Policy Optimization, or by one of the algorithms that came before or after.

    An experiment is a value: it is compared, copied with changes and written to a file, and nothing else decides about
    the result of a run.

        experiment = tf_trpo.Experiment.from_preset("Humanoid-v5", total_steps=200_000, seed=0)
        experiment.replace(max_kl=0.02, algorithm="kl-penalty")
        experiment.train("runs/humanoid")
        tf_trpo.Experiment.from_run("runs/humanoid")  # the same value again

    The name of a setting is the name of its field, whichever part has the field: `max_kl`, not `algorithm.max_kl`.

    Raises:
      ValueError: a setting is outside its range, or two settings exclude each other.
    """

    env: str = "CartPole-v1"
    """Gymnasium id of the environment."""
    environment: EnvironmentSettings = EnvironmentSettings()
    """How the environment is made from its id."""
    run: RunSettings = RunSettings()
    """How long, how often, which seed."""
    rollouts: RolloutSettings = RolloutSettings()
    """How environments are stepped."""
    vine: VineSettings = VineSettings()
    """Whether advantages come from branches of the rollouts."""
    policy: PolicySettings = PolicySettings()
    """The policy's network and distribution."""
    algorithm: Algorithm = TrustRegion()
    """How the policy is moved."""
    update: UpdateSettings = UpdateSettings()
    """How a rollout becomes a batch, and how the value function is fitted."""
    cloning: CloningSettings = CloningSettings()
    """What is cloned before training."""
    value: ValueSettings = ValueSettings()
    """The value function's network."""

    def __post_init__(self) -> None:
        require_allowed(self)
        require(bool(self.env), "env", "the Gymnasium id of an environment", self.env)
        self.flat()  # raises if the algorithm has no name
        self.algorithm.check_gamma(self.update.gamma)
        if self.algorithm.imitates and self.cloning.demonstrations is None:
            raise ValueError("demonstration_weight must be 0 without demonstrations")
        self.run.spread(self.rollouts.shards).shards_of(self.rollouts.num_envs)
        if self.run.workers and self.rollouts.backend != "sync":
            raise ValueError(
                f"backend must be sync with workers, each of which is a process, not {self.rollouts.backend}"
            )
        self._check_vine()
        if self.policy.mirror and self.rollouts.backend == "envpool":
            raise ValueError("mirror must be false with the backend envpool: it is known of Gymnasium's environments")
        if self.rollouts.backend == "envpool" and (self.environment.wrapper or self.environment.action_masks == "info"):
            raise ValueError("wrapper and action_masks info do nothing with the backend envpool: use another backend")

    def _check_vine(self) -> None:
        self.vine.check_rollout(self.rollouts.num_steps)
        found = {
            f"the backend {self.rollouts.backend}": self.rollouts.backend != "sync",
            "workers": self.run.workers > 0,
            "a memory": self.policy.memory is not None,
        }
        for name in (name for name, is_so in found.items() if is_so and self.vine.vine_states):
            raise ValueError(f"vine_states must be 0 with {name}: environments of this process are set back")

    @classmethod
    def from_preset(cls, name: str, **changes: Any) -> Experiment:
        """Take the published settings of an environment, or a bundled preset by its name.

        Args:
          name: Gymnasium id of an environment that a bundled preset names, such as "Humanoid-v5", or the name of a
            preset, such as "mujoco".
          **changes: settings by name, which replace those of the preset; as for `replace`.

        Raises:
          ValueError: no bundled preset has this name or names this environment, or as `replace`.
        """
        if name in bundled_presets():
            if "env" not in changes:
                raise ValueError(f"preset {name} is for several environments: name one by env=")
            return cls.from_presets([name], changes)
        if not bundled_for(name, leaves(cls)):
            raise ValueError(f"no bundled preset names {name}; there are {', '.join(bundled_presets())}")
        return cls.from_presets([], {"env": name, **changes})

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], **changes: Any) -> Experiment:
        """Read a preset of one's own.

        Args:
          path: a YAML file of lines `name: value`, and of `environments: {id: {name: value}}` for settings that
            differ in an environment.
          **changes: settings by name, which replace those of the file; as for `replace`.

        Raises:
          ValueError: the file is no preset, or as `replace`; the message names the file and the setting.
        """
        return cls.from_presets([Path(path)], changes)

    @classmethod
    def from_presets(cls, presets: Sequence[str | Path], changes: Mapping[str, Any]) -> Experiment:
        """Lay presets over the defaults, and changes over the presets.

        Args:
          presets: names of bundled presets, and paths of files; of several, a later one replaces what an earlier one
            sets. Without any, the bundled preset that names the environment is taken, if one does.
          changes: settings by name.

        Raises:
          ValueError: as `from_file`.
        """
        known, default = leaves(cls), cls()
        env = changes.get("env", default.env)
        found = [read_preset(preset, known) for preset in presets] if presets else bundled_for(env, known)
        return changed(default, *layered(found, changes, default.env))

    @classmethod
    def from_run(cls, run_dir: str | os.PathLike[str]) -> Experiment:
        """Read the experiment that a run folder is of.

        Raises:
          ValueError: the folder holds no run, or a run of another version.
        """
        folder = RunFolder(run_dir)
        settings = folder.read_config()["settings"]
        unknown = settings.keys() - leaves(cls).keys()
        experiment = cls() if unknown else changed(cls(), settings, dict.fromkeys(settings, f"{folder.config}: "))
        differing = unknown or experiment.flat().keys() - settings.keys()
        if differing:
            raise ValueError(f"{folder.config} is of another version: it differs in {', '.join(sorted(differing))}")
        return experiment

    def replace(self, **changes: Any) -> Experiment:
        """Copy the experiment with other settings.

        Args:
          **changes: settings by name. `algorithm` is one of `tf_trpo.optimizers.ALGORITHMS`; the parts that both
            algorithms have are kept. `radius` is "fixed" or "adaptive". Text is converted to numbers.

        Raises:
          ValueError: a name is unknown or is of another algorithm, or a value has another type or is outside its
            range; the message names the setting.
        """
        return changed(self, changes)

    def flat(self) -> Flat:
        """Make a dict of all settings by name, as config.json and presets have them.

        Only those of the chosen algorithm are in it; the algorithm itself is there by its name.
        """
        return flat(self)

    def make_agent(self) -> TRPO:
        """Make the agent, compiled, with its first weights.

        Raises:
          ValueError, ImportError, gymnasium.error.Error: the environment cannot be made, or does not fit the settings.
          EnvironmentFailedError: the environment failed when it was made.
        """
        import keras
        import numpy as np

        from tf_trpo.environments.costs import import_costs
        from tf_trpo.training import TRPO

        use_threads(self.run.threads)
        try:
            keras.activations.get(self.policy.activation)
        except ValueError:
            raise ValueError(f"activation: Keras has none named {self.policy.activation!r}") from None
        # For environments that draw from these. keras.utils.set_random_seed would also have TensorFlow forget what it
        # has compiled for earlier agents, and no part of an agent draws by TensorFlow's global seed.
        random.seed(self.run.seed)
        np.random.seed(self.run.seed)  # noqa: NPY002
        settings: dict[str, Any] = {"policy": self.policy, "value": self.value, "seed": self.run.seed}
        import_costs(self.environment.costs)
        settings["costs"] = self.environment.costs
        agent = TRPO.for_env(self.env, **settings, **self.environment.arguments())
        how: Any = {"update": self.update, "jit_compile": self.run.jit_compile, "anchor": self.policy.anchor}
        agent.compile(self.algorithm, **how)
        if self.algorithm.imitates:
            agent.imitate(self.cloning.demonstrations)
        return agent

    def train(
        self,
        run_dir: str | os.PathLike[str],
        *,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        resume: bool = False,
    ) -> TrainedRun:
        """Train into a run folder, evaluate and save; what the command line does.

        Args:
          run_dir: the folder; it must not exist, or, to resume, be that of a run with the same settings, except for
            `tf_trpo.experiment.run.CHANGEABLE`.
          callbacks: Keras callbacks beside those that the settings ask for.
          resume: continue from the newest checkpoint of the folder.

        Returns:
          The agent and its evaluation, or the signal that stopped the run.

        Raises:
          ValueError, FileExistsError: the run cannot begin, or not be resumed.
          RunNotWrittenError: the folder cannot be written to any more.
          EnvironmentFailedError, TrainingFailedError: training had to end; the agent is saved, and can be resumed.
        """
        from tf_trpo.experiment.run import Run

        return Run(self, RunFolder(run_dir), resume=resume).train(callbacks)
