"""A trust-region step on rewards minus costs, whose multipliers a PID controller adapts to limits on the costs."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from tf_trpo.estimation import Batch, weighted_moments
from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics import LineSearchResult
from tf_trpo.optimizers.constraints import relative_excess
from tf_trpo.optimizers.objective import Objective
from tf_trpo.optimizers.policy_optimizer import Proposal, State, was_taken
from tf_trpo.optimizers.trust_region import TrustRegion
from tf_trpo.ranges import require, require_allowed

if TYPE_CHECKING:
    from tf_trpo.models import Policy


@dataclasses.dataclass(frozen=True)
class Controller(State):
    """State with the memory of the PID controllers of C multipliers.

    Attributes:
      memory: float64 `tf.Variable` [2, C]: the integrals, and the errors of the last step.
    """

    memory: Any = None

    @property
    def variables(self) -> list[Any]:
        return [*super().variables, self.memory]


@dataclasses.dataclass(frozen=True)
class LagrangianTrustRegion(TrustRegion):
    """Take the trust-region step of the advantages (A - sum_i lambda_i A_i) / (1 + sum_i lambda_i).

    A_i are the advantages of cost i, scaled to standard deviation 1 over the batch, so lambda_i has no unit. Before
    each step, lambda_i is computed from the error e_i, the share by which the mean total of cost i in an episode is
    above its limit, clipped to [-1, 1]:

        I_i <- max(0, I_i + ki e_i)
        lambda_i = max(0, kp e_i + I_i + kd max(0, e_i - last e_i))

    With kp = kd = 0 this is gradient ascent on the multipliers. The proportional and derivative terms damp its
    oscillations. The error is clipped so that costs far above the limit count no more than costs far below it.

    The figures of a step that was taken, such as its improvement, are those of the rewards' advantages alone. A limit
    is met in the long run, if the policy can meet it, but not in each step.

    Raises:
      ValueError: a setting is outside its range.

    Source:
      Stooke et al. (2020), Responsive Safety in Reinforcement Learning by PID Lagrangian Methods, algorithm 2.
    """

    cost_limits: tuple[float, ...] = ()
    """Limit on the mean total of each cost in an episode, in the order of the costs; positive, finite, at least one."""
    multiplier_kp: float = 0.5
    """Proportional gain: the factor on the error itself, zero or positive."""
    multiplier_ki: float = 0.05
    """Integral gain: the learning rate of the multipliers, zero or positive."""
    multiplier_kd: float = 0.5
    """Derivative gain: the factor on a rise of the error, zero or positive."""
    initial_multiplier: float = 0.0
    """Initial value of the integral term, zero or positive."""

    def __post_init__(self) -> None:
        super().__post_init__()
        gains = {f"multiplier_k{name}": "[0, inf)" for name in "pid"}
        require_allowed(self, **gains, initial_multiplier="[0, inf)")
        fits = all(0 < limit < math.inf for limit in self.cost_limits)
        require(fits, "cost_limits", "positive and finite numbers", self.cost_limits)

    @property
    def limits_on_costs(self) -> tuple[float, ...]:
        return self.cost_limits

    def make_state(self, policy: Policy) -> State:
        count = len(self.cost_limits)
        memory = tf.Variable([[self.initial_multiplier] * count, [0.0] * count], dtype=tf.float64, trainable=False)
        own = super().make_state(policy)
        return Controller(own.adapted, own.optimizer, own.steps, memory=memory)

    def propose(self, objective: Objective, state: State, progress: float | tf.Tensor) -> Proposal:
        assert isinstance(state, Controller)
        multipliers = self._multipliers(objective.batch, state)
        mixed = _mixed_advantages(objective.batch, multipliers)
        proposal = super().propose(objective.with_samples(advantages=mixed), state, progress)
        return proposal._replace(
            gradient=objective.gradient(),
            search=_of_rewards(objective, proposal),
            figures={**dict(proposal.figures), "multipliers": multipliers},
        )

    def _multipliers(self, batch: Batch, state: Controller) -> tf.Tensor:
        """Compute the multipliers [C], and update the controllers' memory."""
        error = tf.clip_by_value(relative_excess(batch, self.cost_limits), -1.0, 1.0)
        integral, last = tf.unstack(state.memory.value())
        integral = tf.maximum(integral + self.multiplier_ki * error, 0.0)
        state.memory.assign(tf.stack([integral, error]))
        rise = tf.maximum(error - last, 0.0)
        return tf.maximum(self.multiplier_kp * error + integral + self.multiplier_kd * rise, 0.0)


def _of_rewards(objective: Objective, proposal: Proposal) -> LineSearchResult:
    """Return the search with the improvement of the rewards' surrogate, plus the bonuses, if the step was taken."""
    search = proposal.search
    improvement = objective.figures(search.theta).improvement
    for gain in proposal.bonuses.values():
        improvement += gain
    return search._replace(improvement=tf.where(was_taken(search), improvement, search.improvement))


def _mixed_advantages(batch: Batch, multipliers: tf.Tensor) -> tf.Tensor:
    """Compute the advantages [N], or [S, L], of the rewards minus those of the costs."""
    costs = batch.required_costs().advantages
    mean, variance = weighted_moments(tf.reshape(costs, [-1, costs.shape[-1]]), tf.reshape(batch.weights, [-1]))
    costs = tf.math.divide_no_nan(costs - mean, tf.sqrt(variance))
    multipliers = tf.cast(multipliers, costs.dtype)
    mixed = batch.advantages - tf.linalg.matvec(costs, multipliers)
    return mixed / (1.0 + tf.reduce_sum(multipliers))
