"""The base class of policy optimizers, which compute new policy weights and an `Outcome` from a batch."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import msgspec

from tf_trpo.estimation import Batch, weighted_mean
from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics import ConjugateGradientResult, LineSearchResult, LineSearchStatus, compiled_at_once
from tf_trpo.numerics.scalars import dot, norm
from tf_trpo.optimizers.objective import Objective, OldPolicy
from tf_trpo.optimizers.outcome import Outcome
from tf_trpo.optimizers.problem import Problem
from tf_trpo.ranges import require

if TYPE_CHECKING:
    from tf_trpo.distributions.action_distribution import ActionDistribution
    from tf_trpo.models import Policy


KL_PER_DIMENSION = 0.01
"""Default KL of a step for each action dimension, in nats."""


class Proposal(NamedTuple):
    """New parameters, and how they were found.

    Attributes:
      gradient: g [P], the surrogate's gradient at the old parameters.
      search: result of the search; `search.figures` are `PolicyFigures.tensors` of the policy at `search.theta`,
        without the first one.
      solution: solution of the linear system; None without one.
      radius: limit on the KL in nats, float64 or a number; None without a limit.
      penalty_coefficient: weight of a nat of KL against the surrogate, float64 or a number; None without a penalty.
      uphill: [P], the right-hand side of the linear system; None if it is g.
      bonuses: gains of the bonuses, float64 scalars by their names in the `Outcome`; `search.improvement` is the
        surrogate's plus these gains.
      figures: further figures by their names in the `Outcome`.
    """

    gradient: tf.Tensor
    search: LineSearchResult
    solution: ConjugateGradientResult | None = None
    radius: tf.Tensor | float | None = None
    penalty_coefficient: tf.Tensor | float | None = None
    uphill: tf.Tensor | None = None
    bonuses: dict[str, tf.Tensor] = {}  # noqa: RUF012  TensorFlow returns dicts from traced functions, and no proxies
    figures: dict[str, tf.Tensor] = {}  # noqa: RUF012


@dataclasses.dataclass(frozen=True)
class State:
    """State that a policy optimizer keeps from one step to the next; an algorithm that needs more subclasses it.

    Attributes:
      adapted: numbers that the steps adapt, float64 `tf.Variable`; None if there are none.
      optimizer: a Keras optimizer that is built on the policy's trainable variables; None if there is none.
      steps: the number of steps so far, int64 `tf.Variable`; None if nothing depends on it.
      shown: demonstrations to imitate, `Shown`; None without. The caller saves them: they are not among `variables`.
    """

    adapted: Any = None
    optimizer: Any = None
    steps: Any = None
    shown: Any = None

    @property
    def variables(self) -> list[Any]:
        """The variables to save and restore, in a fixed order."""
        own = [variable for variable in (self.adapted, self.steps) if variable is not None]
        return own + ([] if self.optimizer is None else self.optimizer.variables)


@dataclasses.dataclass(frozen=True)
class PolicyOptimizer(abc.ABC):
    """Base class of the algorithms that compute new policy weights from samples of the policy.

    An algorithm is a subclass that is a frozen dataclass: its fields are its settings, and `propose` finds the new
    weights. `step` assigns them and returns the `Outcome`. The optimizer itself never changes; an algorithm with state
    makes it in `make_state`. In a compiled update, the float settings of this package's algorithms are float64 scalar
    tensors unless they are 0 or 1, so that one compiled program serves all values.
    """

    @property
    def is_scheduled(self) -> bool:
        """Whether a setting depends on the progress of the run; by default, False."""
        return False

    @property
    def imitates(self) -> bool:
        """Whether the steps need demonstrations, `State.shown`; by default, False."""
        return False

    def check_gamma(self, gamma: float) -> None:  # noqa: B027  most algorithms can use any
        """Raise ValueError if the algorithm cannot use this discount of the returns; by default it accepts any."""

    def check_problem(self, problem: Problem) -> None:
        """Raise ValueError unless the algorithm supports this problem.

        By default it accepts any number of costs, without limiting them, and no anchor.
        """
        require(
            not problem.is_anchored, "anchor", f"None with {type(self).__name__}, which has no anchor_kl", "a policy"
        )

    def settled(self, distribution: ActionDistribution) -> Self:
        """Return the optimizer with numbers for defaults that depend on the actions; by default it has none."""
        return self

    def make_state(self, policy: Policy) -> State:
        """Make the state for a policy before its first step; by default it is empty."""
        return State()

    def step(
        self,
        policy: Policy,
        batch: Batch,
        state: State,
        *,
        progress: float | tf.Tensor,
        gamma: float | tf.Tensor,
        chunk_size: int | None = None,
        jit_compile: bool = False,
        objective: Callable[..., Objective] = Objective,
    ) -> Outcome:
        """Assign new trainable weights to the policy, or leave its weights unchanged, bit for bit.

        Args:
          policy: the policy to update.
          batch: samples of the policy with its present weights.
          state: the state from `make_state` for this policy; updated in place.
          progress: fraction of the run that is over, in [0, 1], for schedules; a number or a float scalar.
          gamma: discount of the batch's returns, in [0, 1]; a number or a float64 scalar.
          chunk_size: largest number of samples, or segments, in memory at once, >= 1; None for all. The result is the
            same up to rounding.
          jit_compile: compile `propose` with XLA, and nothing else of the step; only within a traced tf.function.
          objective: makes the objective from policy, batch, parameters, chunk_size and gamma.

        Returns:
          The `Outcome`.

        Raises:
          ValueError: the sum of the batch's weights is known, and neither 1 nor 0.
        """
        batch = batch.checked()

        def propose() -> tuple[Proposal, OldPolicy]:
            made = objective(policy, batch, policy.flat_weights, chunk_size, gamma)
            return _as_tensors(self.settled(policy.action_distribution).propose(made, state, progress)), made.old

        proposal, old = compiled_at_once(propose)() if jit_compile else propose()
        proposal = proposal._replace(search=_finite(proposal.search, old))
        policy.assign_flat_weights(proposal.search.theta)
        return _outcome(batch, old, proposal)

    @abc.abstractmethod
    def propose(self, objective: Objective, state: State, progress: float | tf.Tensor) -> Proposal:
        """Find new parameters; the optimizer is the result of `settled`.

        Args:
          objective: the surrogate and the KL on the samples, at and near the old parameters.
          state, progress: as in `step`.

        Returns:
          The `Proposal`; its parameters are the old ones, bit for bit, if the step is refused.
        """

    def get_config(self) -> dict[str, Any]:
        """Return all settings as a dict for JSON, nested as the dataclasses are."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Make an optimizer from the result of `get_config`.

        Args:
          config: settings by name, nested; missing settings have their defaults.

        Raises:
          ValueError: a setting is unknown, of another type, or outside its range.
        """
        try:
            optimizer = msgspec.convert(config, cls)
        except msgspec.ValidationError as error:
            raise ValueError(f"{cls.__name__}: {error}") from error
        # msgspec ignores names that a dataclass does not have.
        unknown = set(_paths(config)) - set(_paths(optimizer.get_config()))
        if unknown:
            raise ValueError(f"{cls.__name__} has no settings {sorted(unknown)}")
        return optimizer


def default_kl(distribution: ActionDistribution) -> float:
    """Return the default limit or target of a step's KL, in nats: 0.01 for each action dimension."""
    return KL_PER_DIMENSION * distribution.dimensions


def without_line_search(objective: Objective, candidate: tf.Tensor) -> LineSearchResult:
    """Accept a candidate without a line search, unless it is not finite.

    Args:
      objective: at the old parameters.
      candidate: new parameters [P].

    Returns:
      A `LineSearchResult` whose backtracks are None. It has the candidate and the status NOT_USED, or the old
      parameters and a reason: NO_DIRECTION if the candidate equals them, NOT_FINITE if the candidate, its surrogate
      or its KL is not finite.
    """
    figures = objective.figures(candidate)
    finite = tf.reduce_all(tf.math.is_finite(candidate))
    finite &= tf.math.is_finite(figures.improvement) & tf.math.is_finite(figures.kl)
    moved = tf.reduce_any(tf.not_equal(candidate, objective.theta))
    status = tf.where(finite, int(LineSearchStatus.NOT_USED), int(LineSearchStatus.NOT_FINITE))
    status = tf.where(moved, status, int(LineSearchStatus.NO_DIRECTION))
    search = LineSearchResult(candidate, status, None, figures.improvement, figures.kl, figures.tensors[1:])
    return _kept_if(finite & moved, search, objective.old)


def was_taken(search: LineSearchResult) -> tf.Tensor:
    """Return whether the search ended at new parameters, as a bool scalar."""
    return tf.equal(search.status, LineSearchStatus.ACCEPTED) | tf.equal(search.status, LineSearchStatus.NOT_USED)


def _as_tensors(proposal: Proposal) -> Proposal:
    """Convert numbers to float64 tensors; TensorFlow's default would be float32."""
    numbers = {name: getattr(proposal, name) for name in ("radius", "penalty_coefficient")}
    given = {name: tf.convert_to_tensor(number, tf.float64) for name, number in numbers.items() if number is not None}
    return proposal._replace(**given)


def _finite(search: LineSearchResult, old: OldPolicy) -> LineSearchResult:
    """Refuse the search's parameters if any is not finite: a policy's weights are always finite."""
    sound = tf.reduce_all(tf.math.is_finite(search.theta))
    status = tf.where(sound, search.status, int(LineSearchStatus.NOT_FINITE))
    return _kept_if(sound, search._replace(status=status), old)


def _kept_if(condition: tf.Tensor, search: LineSearchResult, old: OldPolicy) -> LineSearchResult:
    """Replace the search's parameters and figures by the old ones unless the condition holds."""
    pairs = zip((search.theta, *search.figures), (old.theta, *old.figures.tensors[1:]), strict=True)
    theta, *figures = (tf.where(condition, new, kept) for new, kept in pairs)
    return search._replace(theta=theta, figures=tuple(figures))


def _outcome(batch: Batch, old: OldPolicy, proposal: Proposal) -> Outcome:
    gradient, search, solution, radius, coefficient, uphill, bonuses, figures = proposal
    batch = batch.rows
    accepted = was_taken(search)
    step = search.theta - old.theta
    # If the step is refused because the gradient is not finite, the product is NaN, not 0.
    predicted = tf.where(accepted, dot(gradient, step), 0.0)
    gains = {name: tf.where(accepted, gain, 0.0) for name, gain in bonuses.items()}
    actual = tf.where(accepted, search.improvement, 0.0)
    for gain in gains.values():
        actual -= gain
    gradient_norm = norm(gradient)
    old_surrogate = weighted_mean(tf.cast(batch.advantages, tf.float64), tf.cast(batch.weights, tf.float64))
    kl, max_kl_over_states, *entropy = search.figures
    outcome = Outcome(
        accepted=accepted,
        line_search_status=search.status,
        surrogate=old_surrogate + actual,
        predicted_improvement=predicted,
        actual_improvement=actual,
        improvement_ratio=tf.math.divide_no_nan(actual, predicted),
        kl=kl,
        candidate_kl=search.kl,
        candidate_improvement=search.improvement,
        max_kl_over_states=max_kl_over_states,
        gradient_norm=gradient_norm,
        step_norm=norm(step),
        entropy=entropy[0] if entropy else None,
        backtracks=search.backtracks,
        trust_region_radius=radius,
        penalty_coefficient=coefficient,
        **gains,
        **figures,
    )
    if solution is None:
        return outcome
    whole = gradient_norm if uphill is None else norm(uphill)
    residual = tf.math.divide_no_nan(tf.cast(solution.residual_norm, tf.float64), whole)
    return outcome._replace(cg_status=solution.status, cg_iterations=solution.iterations, cg_residual=residual)


def _paths(config: Mapping[str, Any], parents: str = "") -> Iterator[str]:
    """Yield the path of each setting of a nested config, for example "search.max_backtracks"."""
    for name, value in config.items():
        yield parents + name
        if isinstance(value, Mapping):
            yield from _paths(value, f"{parents}{name}.")
