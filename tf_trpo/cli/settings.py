"""Every setting of a training run: one typed, documented field each, which is also an option.

Kept free of TensorFlow, so that --help answers at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
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
    env_timeout: float = 300.0
    """Seconds that a step of all environments may take with the backend async."""
    restart_every: int = 0
    """Rollouts after which an environment begins another episode, each in its turn; 0: only when one ends. Cut
    episodes are not in the logs' returns: let so many rollouts be longer than an episode."""


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
    """Environment steps between two checkpoints; 0 for one at the end, a stop or a failure only."""
    histogram_every: int = 10_000
    """Environment steps between two histograms of weights and actions in TensorBoard; 0 for none."""
    video_every: int = 0
    """Environment steps between two films of an episode in TensorBoard, by Gymnasium's rgb_array; 0 for none."""
    quiet: bool = False
    """Print nothing but errors and, when a signal stops the run, how to go on."""
    export: bool = False
    """Also export a SavedModel, to RUN_DIR/saved_model."""
    threads: int = 0
    """Threads that TensorFlow computes with; 0 for all cores."""
    chunk_size: int = 32_768
    """Samples that the update has in memory at once; larger batches give the same result in chunks."""
    max_faults: int = 10
    """Rollouts or updates in a row with numbers that are not finite, at which the run ends."""


@dataclasses.dataclass(frozen=True)
class PolicySettings:
    """The policy."""

    hidden_sizes: tuple[int, ...] = (64, 64)
    """Units of each hidden layer."""
    activation: str = "tanh"
    """Keras activation of the policy and of the value function."""
    initial_std: float = 1.0
    """Standard deviation of the Gaussian at the start, in action units."""
    final_std: float | None = None
    """That at the end of std_steps, reached geometrically; None to learn the standard deviation."""
    std_steps: int = 1_000_000
    """Environment steps from initial_std to final_std."""
    state_dependent_std: bool = False
    """Let the standard deviation depend on the observation."""
    clipped_likelihood: bool = False
    """Score actions as the environment sees them, clipped to its bounds: less variance where many lie beyond."""
    normalize_observations: bool = True
    """Normalise observations by their running mean and standard deviation."""
    observation_min_std: float = 0.0
    """A feature that spreads less is divided by this: one that is nearly always 0 is not blown up where it is not."""
    mirror: bool = False
    """Give the policy and the value function the mirror symmetry of the environment, where one is known; they then
    compute twice the rows."""
    function_preserving: bool = True
    """Keep new statistics of observations from moving the policy: its first layer takes the change in."""
    ema_momentum: float | None = None
    """Evaluate and export the mean of about 1 / (1 - this) iterations' policies, by their weights; None: the last."""


@dataclasses.dataclass(frozen=True)
class AlgorithmSettings:
    """How the policy is moved."""

    algorithm: Literal["trpo", "natural-policy-gradient", "vanilla-policy-gradient", "kl-penalty"] = "trpo"
    """The policy optimizer; what only another one uses is refused."""
    jit_compile: bool = True
    """Compile the update by XLA; the results agree to rounding."""


@dataclasses.dataclass(frozen=True)
class TrustRegionSettings:
    """trpo: Algorithm 1, lines 7 to 9."""

    max_kl: float = 0.01
    """Limit of the joint KL(old || new) of a step, in nats (see constraint)."""
    final_max_kl: float | None = None
    """That at the end of max_kl_steps, reached linearly; None to keep max_kl."""
    max_kl_steps: int = 1_000_000
    """Environment steps from max_kl to final_max_kl, each iteration counted as num_envs * num_steps."""
    constraint: Literal["mean", "max"] = "mean"
    """Limit the mean KL, or the largest one of a sampled state."""
    radius: Literal["fixed", "adaptive"] = "fixed"
    """Keep max_kl, or let the limit follow how well the linear model predicted the last improvement."""
    min_radius: float = 1e-5
    """Smallest adaptive limit."""
    max_radius: float = 0.1
    """Largest adaptive limit."""
    shrink_below: float = 0.25
    """The adaptive limit shrinks if actual / predicted improvement is below this, or no step was found."""
    expand_above: float = 0.75
    """It grows if the ratio is above this and the step reached the limit."""
    shrink_factor: float = 0.25
    """By how much it shrinks."""
    expand_factor: float = 2.0
    """By how much it grows."""


@dataclasses.dataclass(frozen=True)
class LineSearchSettings:
    """trpo and kl-penalty: the line search."""

    backtrack_ratio: float = 0.8
    """Factor between two candidates."""
    max_backtracks: int = 10
    """Candidates after the full step, at most."""


@dataclasses.dataclass(frozen=True)
class NaturalDirectionSettings:
    """trpo, natural-policy-gradient and kl-penalty: the direction F^-1 g."""

    cg_iterations: int = 15
    """Conjugate gradient iterations, at most."""
    cg_damping: float = 0.1
    """Added to the Fisher matrix's diagonal in the linear system."""
    cg_tolerance: float = 1e-6
    """Relative residual at which conjugate gradient stops."""
    curvature_fraction: float = 1.0
    """Share of the samples that Fisher-vector products are taken on; gradient and line search use all."""
    fisher_vector_product: Literal["gauss-newton", "double-backprop"] = "gauss-newton"
    """How products with the Fisher matrix are computed; the result is the same."""


@dataclasses.dataclass(frozen=True)
class NaturalPolicyGradientSettings:
    """natural-policy-gradient."""

    natural_learning_rate: float | None = None
    """Fixed factor on the natural direction; None to take it from natural_max_kl."""
    natural_max_kl: float = 0.01
    """Mean joint KL that a step aims at, by the quadratic model, in nats."""


@dataclasses.dataclass(frozen=True)
class VanillaPolicyGradientSettings:
    """vanilla-policy-gradient."""

    vanilla_optimizer: Literal["adam", "sgd"] = "adam"
    """Keras optimizer that takes the step along the gradient."""
    vanilla_learning_rate: float = 0.01
    """Its learning rate."""


@dataclasses.dataclass(frozen=True)
class KLPenaltySettings:
    """kl-penalty: maximise L - C KL."""

    penalty: Literal["fixed", "adaptive", "theory"] = "adaptive"
    """C: a number, adapted to target_kl, or that of the lower bound (steps are tiny)."""
    penalty_coefficient: float = 5.0
    """The fixed C, or the first adaptive one."""
    target_kl: float = 0.01
    """KL of a step that the adaptive C aims at, in nats."""
    penalty_solver: Literal["newton", "first-order"] = "newton"
    """One step along (1/C) F^-1 g, or minibatch steps of Adam on L - C KL."""
    penalty_epochs: int = 10
    """First-order: passes over the batch."""
    penalty_minibatch_size: int = 128
    """First-order: samples of a minibatch."""
    penalty_learning_rate: float = 3e-4
    """First-order: learning rate of Adam."""


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
    advantage_clip: float | None = None
    """Cut the policy's advantages at so many standard deviations from their mean; None: not at all."""
    normalize_rewards: bool = True
    """Divide rewards by the running standard deviation of the discounted return."""


@dataclasses.dataclass(frozen=True)
class ValueSettings:
    """The value function: Algorithm 1, line 10."""

    value_hidden_sizes: tuple[int, ...] = (64, 64)
    """Units of each hidden layer."""
    value_target: Literal["lambda-return", "reward-to-go"] = "lambda-return"
    """What the value function is regressed on."""
    value_function_first: bool = False
    """Fit it before the policy's step, and take the advantages by the fitted one."""
    value_learning_rate: float = 1e-3
    """Learning rate of Adam."""
    value_learning_rate_decay: bool = False
    """Let it fall linearly towards 0 in each fit, and begin the next one anew."""
    value_epochs: int = 10
    """Passes over the batch."""
    value_minibatch_size: int = 128
    """Samples of a minibatch."""


@dataclasses.dataclass(frozen=True)
class TrainSettings:
    """Train an agent by Trust Region Policy Optimization, or by what it came from."""

    environment: EnvironmentSettings = EnvironmentSettings()
    run: RunSettings = RunSettings()
    policy: PolicySettings = PolicySettings()
    algorithm: AlgorithmSettings = AlgorithmSettings()
    trust_region: TrustRegionSettings = TrustRegionSettings()
    line_search: LineSearchSettings = LineSearchSettings()
    natural_direction: NaturalDirectionSettings = NaturalDirectionSettings()
    natural_policy_gradient: NaturalPolicyGradientSettings = NaturalPolicyGradientSettings()
    vanilla_policy_gradient: VanillaPolicyGradientSettings = VanillaPolicyGradientSettings()
    kl_penalty: KLPenaltySettings = KLPenaltySettings()
    advantages: AdvantageSettings = AdvantageSettings()
    value: ValueSettings = ValueSettings()

    def flat(self) -> dict[str, object]:
        """Every setting by its name, as in a preset; paths as strings."""
        groups = (getattr(self, field.name) for field in dataclasses.fields(self))
        values = {name: value for group in groups for name, value in dataclasses.asdict(group).items()}
        return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}

    def with_defaults(self, names: Collection[str]) -> TrainSettings:
        """A copy in which the settings of these names have their defaults again."""
        groups = {}
        for group in dataclasses.fields(self):
            settings = getattr(self, group.name)
            again = {field.name: field.default for field in dataclasses.fields(settings) if field.name in names}
            groups[group.name] = dataclasses.replace(settings, **again)
        return TrainSettings(**groups)
