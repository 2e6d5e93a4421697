"""Every setting of a training run: one typed, documented field each, which is also an option.

Kept free of TensorFlow, so that --help answers at once.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

LARGEST_SEED = 2**31 - 1
"""Seeds of stateless random operations are int32."""


@dataclasses.dataclass(frozen=True)
class EnvironmentSettings:
    """The environment and how it is stepped."""

    env: str = "CartPole-v1"
    """Gymnasium id of the environment."""
    num_envs: int = 1
    """Environments stepped together."""
    backend: Literal["sync", "async", "envpool"] = "sync"
    """How: in this process, in a process each, or by EnvPool (an extra)."""


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """The run."""

    total_steps: int = 100_000
    """Environment steps to train for, over all environments."""
    seed: int = 0
    """Same seed, same weights, on one machine."""
    run_dir: Path | None = None
    """Folder of the run, which must not exist; by default runs/ENV-SEED, or runs/ENV-SEED-2 and so on."""
    eval_every: int = 0
    """Environment steps between two evaluations during training; 0 for none."""
    eval_episodes: int = 20
    """Episodes of an evaluation; the last one is when training is over."""
    checkpoint_every: int = 100_000
    """Environment steps between two checkpoints; 0 for none."""
    export: bool = False
    """Also export a SavedModel, to RUN_DIR/saved_model."""
    threads: int = 0
    """Threads that TensorFlow computes with; 0 for all cores."""
    chunk_size: int = 32_768
    """Samples that the update has in memory at once; larger batches give the same result in chunks."""


@dataclasses.dataclass(frozen=True)
class PolicySettings:
    """The policy."""

    hidden_sizes: tuple[int, ...] = (64, 64)
    """Units of each hidden layer."""
    activation: str = "tanh"
    """Keras activation of the policy and of the value function."""
    initial_std: float = 1.0
    """Standard deviation of the Gaussian at the start, in action units."""
    state_dependent_std: bool = False
    """Let the standard deviation depend on the observation."""
    normalize_observations: bool = True
    """Normalise observations by their running mean and standard deviation."""


@dataclasses.dataclass(frozen=True)
class TrustRegionSettings:
    """The policy step: Algorithm 1, lines 7 to 9."""

    max_kl: float = 0.01
    """Limit of the mean joint KL(old || new) of a step, in nats."""
    cg_iterations: int = 15
    """Conjugate gradient iterations, at most."""
    cg_damping: float = 0.1
    """Added to the Fisher matrix's diagonal in the linear system."""
    cg_tolerance: float = 1e-6
    """Relative residual at which conjugate gradient stops."""
    backtrack_ratio: float = 0.8
    """Factor between two candidates of the line search."""
    max_backtracks: int = 10
    """Candidates after the full step, at most."""
    curvature_fraction: float = 1.0
    """Share of the samples that Fisher-vector products are taken on; gradient and line search use all."""
    fisher_vector_product: Literal["gauss-newton", "double-backprop"] = "gauss-newton"
    """How products with the Fisher matrix are computed; the result is the same."""
    jit_compile: bool = True
    """Compile the update by XLA; the results agree to rounding."""


@dataclasses.dataclass(frozen=True)
class AdvantageSettings:
    """Rollouts and advantages: Algorithm 1, lines 4 to 6."""

    num_steps: int = 2048
    """Rows of a rollout, for each environment and iteration."""
    gamma: float = 0.99
    """Discount."""
    gae_lambda: float = 0.95
    """Lambda of the generalised advantage estimates."""
    normalize_advantages: bool = True
    """Shift and scale advantages to mean 0 and standard deviation 1."""
    normalize_rewards: bool = True
    """Divide rewards by the running standard deviation of the discounted return."""


@dataclasses.dataclass(frozen=True)
class ValueSettings:
    """The value function: Algorithm 1, line 10."""

    value_hidden_sizes: tuple[int, ...] = (64, 64)
    """Units of each hidden layer."""
    value_target: Literal["lambda-return", "reward-to-go"] = "lambda-return"
    """What the value function is regressed on."""
    value_learning_rate: float = 1e-3
    """Learning rate of Adam."""
    value_epochs: int = 10
    """Passes over the batch."""
    value_minibatch_size: int = 128
    """Samples of a minibatch."""


@dataclasses.dataclass(frozen=True)
class TrainSettings:
    """Train an agent by Trust Region Policy Optimization."""

    environment: EnvironmentSettings = EnvironmentSettings()
    run: RunSettings = RunSettings()
    policy: PolicySettings = PolicySettings()
    trust_region: TrustRegionSettings = TrustRegionSettings()
    advantages: AdvantageSettings = AdvantageSettings()
    value: ValueSettings = ValueSettings()

    def flat(self) -> dict[str, object]:
        """Every setting by its name, as in a preset; paths as strings."""
        groups = (getattr(self, field.name) for field in dataclasses.fields(self))
        values = {name: value for group in groups for name, value in dataclasses.asdict(group).items()}
        return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}
