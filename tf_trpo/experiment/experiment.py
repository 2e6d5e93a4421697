"""An experiment: all settings of a training run as one value."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tf_trpo.experiment.conversion import CHOICES, Flat, changed, flat, leaves
from tf_trpo.experiment.generators import generators_kept, seed_generators
from tf_trpo.experiment.presets import bundled_for, bundled_presets, layered, read_preset
from tf_trpo.experiment.run_folder import RunFolder
from tf_trpo.experiment.settings import EnvironmentSettings, RolloutSettings, RunSettings, StartSettings
from tf_trpo.learning.devices import use_threads
from tf_trpo.learning.settings import UpdateSettings
from tf_trpo.models.settings import PolicySettings, ValueSettings
from tf_trpo.optimizers import PolicyOptimizer, Problem, TrustRegion
from tf_trpo.ranges import require, require_allowed
from tf_trpo.rollouts.vine import VineSettings

if TYPE_CHECKING:
    from tf_trpo.experiment.run import TrainedRun
    from tf_trpo.training import TRPO
    from tf_trpo.training.callback_list import Callbacks


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Train an agent by Trust Region Policy Optimization, or by one of the algorithms that came before or after.

    An experiment is a value: it can be compared, copied with changes and written to a file. It alone determines the
    result of a run.

        experiment = tf_trpo.Experiment.from_preset("Humanoid-v5", total_steps=200_000, seed=0)
        other = experiment.replace(algorithm="kl-penalty", target_kl=0.02)
        experiment.train("runs/humanoid")
        tf_trpo.Experiment.from_run("runs/humanoid")  # the same value again

    The name of a setting is that of its field, without the part that has the field: `max_kl`, not `algorithm.max_kl`.

    Raises:
      ValueError: a setting is outside its range, or two settings exclude each other.
    """

    env: str = "CartPole-v1"
    """Gymnasium id, or module:NAME of a class or function that makes the environment."""
    environment: EnvironmentSettings = EnvironmentSettings()
    """How the environment is made from its id."""
    run: RunSettings = RunSettings()
    """The run: its length, seed, evaluations, checkpoints and logs."""
    rollouts: RolloutSettings = RolloutSettings()
    """How rollouts are collected."""
    vine: VineSettings = VineSettings()
    """Branches of the rollouts, from which advantages are estimated."""
    policy: PolicySettings = PolicySettings()
    """The policy's network and distribution."""
    algorithm: PolicyOptimizer = TrustRegion()
    """The policy optimizer, of one of the classes `tf_trpo.optimizers.ALGORITHMS`."""
    update: UpdateSettings = UpdateSettings()
    """How a rollout becomes a batch, and how the value function is fitted."""
    start: StartSettings = StartSettings()
    """The policy with which training starts."""
    value: ValueSettings = ValueSettings()
    """The value function's network."""

    def __post_init__(self) -> None:
        require_allowed(self)
        require(bool(self.env), "env", "the Gymnasium id of an environment", self.env)
        self.flat()  # raises if the algorithm has no name
        self.algorithm.check_gamma(self.update.gamma)
        if self.algorithm.imitates and self.start.demonstrations is None:
            raise ValueError("demonstration_weight must be 0 without demonstrations")
        self.run.spread(self.rollouts.shards).shards_of(self.rollouts.num_envs)
        if self.run.workers and self.rollouts.backend != "sync":
            raise ValueError(
                f"backend must be sync with workers, each of which is a process, not {self.rollouts.backend}"
            )
        self._check_vine()
        self._check_memory()
        if self.start.anchor is not None:
            averaged, scheduled = self.policy.ema_momentum is not None, self.policy.final_std is not None
            Problem(is_averaged=averaged, is_scheduled=scheduled).check_limits_hold()
        if self.policy.mirror and self.rollouts.backend == "envpool":
            raise ValueError("mirror must be false with the backend envpool: it is known of Gymnasium's environments")
        if self.policy.mirror and self.environment.frame_stack > 1:
            raise ValueError(
                "frame_stack and mirror exclude each other, since a mirror is one of single observations: set mirror "
                "to False, on the command line by --no-mirror"
            )
        if self.rollouts.steps_together:
            self._check_stepped_together()

    def _check_vine(self) -> None:
        self.vine.check_rollout(self.rollouts.num_steps)
        found = {
            f"the backend {self.rollouts.backend}": self.rollouts.backend != "sync",
            "workers": self.run.workers > 0,
            "a memory": self.policy.memory is not None,
        }
        for name in (name for name, is_so in found.items() if is_so and self.vine.vine_states):
            raise ValueError(f"vine_states must be 0 with {name}: environments of this process are set back")

    def _check_stepped_together(self) -> None:
        backend, environment = self.rollouts.backend, self.environment
        if environment.wrapper or environment.frame_stack > 1 or environment.action_masks == "info":
            unused = f"wrapper, frame_stack and action_masks info do nothing with the backend {backend}"
            raise ValueError(f"{unused}: use another backend")
        functions = [cost for cost in environment.costs if ":" in cost]
        if functions:
            raise ValueError(f"costs must be keys of infos with the backend {backend}, got {functions[0]}")

    def _check_memory(self) -> None:
        if self.policy.memory is None:
            self.update.check_without_memory()
            return
        self.update.segment_length_for(self.rollouts.num_steps)
        settings = self.flat()
        for name, only in {"preconditioner_rank": 0, "demonstrations": None, "anchor": None}.items():
            value = settings.get(name)
            require(not value, name, f"{only} with a memory", value)

    @classmethod
    def from_preset(cls, name: str, **changes: Any) -> Experiment:
        """Make an experiment from the published settings of an environment, or from a bundled preset.

        Args:
          name: Gymnasium id of an environment that a bundled preset names, such as "Humanoid-v5", or the name of a
            bundled preset, such as "mujoco".
          **changes: settings by name, which replace those of the preset; as for `replace`.

        Raises:
          ValueError: no bundled preset has this name or names this environment, `name` is an environment and `env` is
            another one, or as `replace`.
        """
        if name in bundled_presets():
            if "env" not in changes:
                raise ValueError(f"preset {name} is for several environments: name one by env=")
            return cls.from_presets([name], changes)
        if not bundled_for(name, leaves(cls)):
            raise ValueError(f"no bundled preset names {name}; there are {', '.join(bundled_presets())}")
        if changes.get("env", name) != name:
            raise ValueError(f"from_preset({name!r}) is of this environment: env cannot be {changes['env']!r}")
        return cls.from_presets([], {**changes, "env": name})

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], **changes: Any) -> Experiment:
        """Make an experiment from your own preset file.

        Args:
          path: a YAML file of lines `name: value`, and of `environments: {id: {name: value}}` for settings that
            differ in an environment.
          **changes: settings by name, which replace those of the file; as for `replace`.

        Raises:
          ValueError: the file is not a preset, or as `replace`; the message names the file and the setting.
        """
        return cls.from_presets([Path(path)], changes)

    @classmethod
    def from_presets(cls, presets: Sequence[str | Path], changes: Mapping[str, Any]) -> Experiment:
        """Make an experiment from the defaults, which presets override, which `changes` override.

        Args:
          presets: names of bundled presets, or paths of files; later ones override earlier ones. If there are none,
            the bundled preset that names the environment is used, if one does.
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
        """Read the experiment of a run folder.

        Raises:
          ValueError: the folder holds no run, or the run is of another version.
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
        """Return a copy of the experiment with other settings.

        Args:
          **changes: settings by name. `algorithm` is one of `tf_trpo.optimizers.ALGORITHMS`; parts that both
            algorithms have are kept. `radius` is "fixed" or "adaptive". Text is converted to numbers.

        Raises:
          ValueError: a name is unknown or is a setting of another algorithm, or a value has another type or is outside
            its range; the message names the setting.
        """
        return changed(self, changes)

    def flat(self) -> Flat:
        """Return a dict of all settings by name, in the form of config.json and presets.

        `algorithm` is the name of the algorithm. Settings of other algorithms are left out.
        """
        return flat(self)

    def changes(self) -> Flat:
        """Return the settings that differ from the defaults of the experiment's algorithm and radius, as `flat`."""
        settings, default = self.flat(), Experiment()
        kinds = {name: settings[name] for name in CHOICES if name in settings}
        usual = {**default.replace(**kinds).flat(), **{name: default.flat()[name] for name in kinds}}
        return {name: value for name, value in settings.items() if value != usual[name]}

    def make_agent(self) -> TRPO:
        """Make the agent, with initial weights, compiled; seed `random` and `np.random`, which environments may use.

        Raises:
          ValueError, ImportError, gymnasium.error.Error: the environment cannot be made, or does not fit the settings.
          EnvironmentFailedError: the environment failed when it was made.
        """
        import keras

        from tf_trpo.environments.costs import import_costs
        from tf_trpo.training import TRPO

        use_threads(self.run.threads)
        try:
            keras.activations.get(self.policy.activation)
        except ValueError:
            raise ValueError(f"activation: Keras has none named {self.policy.activation!r}") from None
        seed_generators(self.run.seed)
        import_costs(self.environment.costs)
        made_of: Any = {"policy": self.policy, "value": self.value, "costs": self.environment.costs}
        agent = TRPO.for_env(self.env, **made_of, seed=self.run.seed, **self.environment.arguments())
        how: Any = {"update": self.update, "jit_compile": self.run.jit_compile, "anchor": self.start.anchor}
        agent.compile(self.algorithm, **how)
        if agent.anchor is not None:
            agent.start_at_anchor()
        if self.algorithm.imitates:
            agent.imitate(self.start.demonstrations)
        return agent

    def train(
        self,
        run_dir: str | os.PathLike[str],
        *,
        callbacks: Callbacks = None,
        resume: bool = False,
    ) -> TrainedRun:
        """Train, evaluate and save to a run folder, as the command line does.

        Meanwhile `random` and `np.random` of the process are seeded; at the end their states are restored.

        Args:
          run_dir: the run folder. It must not exist; to resume, it must hold a run with the same settings, except for
            `tf_trpo.experiment.resuming.CHANGEABLE`.
          callbacks: Keras callbacks, called after evaluations and before logs and checkpoints are written.
          resume: continue from the newest checkpoint in the folder.

        Returns:
          The agent and its evaluation, or the signal that stopped the run.

        Raises:
          ValueError, FileExistsError: the run cannot begin or cannot be resumed.
          RunNotWrittenError: the folder can no longer be written to.
          EnvironmentFailedError, TrainingFailedError: training had to end; the agent is saved, and the run can be
            resumed.
        """
        from tf_trpo.experiment.run import Run

        with generators_kept():
            return Run(self, RunFolder(run_dir), resume=resume).train(callbacks)
