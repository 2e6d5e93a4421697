"""The KL-penalised problem, which the trust region replaces: maximise L - C KL."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Literal, Self

from tf_trpo.estimation import advantage_scale, largest_advantage
from tf_trpo.estimation import penalty_coefficient as theoretical_penalty
from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics import ConjugateGradientResult, LineSearchResult, LineSearchStatus, scalar
from tf_trpo.optimizers.backtracking import Backtracking
from tf_trpo.optimizers.first_order import FirstOrder
from tf_trpo.optimizers.natural_direction import NaturalDirection
from tf_trpo.optimizers.objective import Objective
from tf_trpo.optimizers.policy_optimizer import PolicyOptimizer, Proposal, State, default_kl, was_taken
from tf_trpo.ranges import require, require_allowed

if TYPE_CHECKING:
    from tf_trpo.distributions.action_distribution import ActionDistribution
    from tf_trpo.models import Policy

Penalty = Literal["fixed", "adaptive", "theory"]
PenaltySolver = Literal["newton", "first-order"]

_TOLERANCE = 1.5
"""The adaptive C does not change while the KL is within this factor of its target."""
_DOUBLINGS = 20
"""Largest number of doublings or halvings of the initial C: with vanishing gradients it would fall without end."""


@dataclasses.dataclass(frozen=True)
class KLPenalty(PolicyOptimizer):
    """Maximise L(theta) - C KL(old || theta), with the mean joint KL in nats.

    With penalty_solver "newton", L is approximated as linear and the KL as quadratic, and the full step is (1/C) x with
    x ~ (F + damping I)^-1 g by conjugate gradient. Far from the old weights neither approximation holds, so the line
    search takes the first of ratio^j times this step that improves L - C KL itself. With "first-order", Adam maximises
    the penalised objective in minibatches; the step is refused if the policy's figures are not finite afterwards.
    Neither solver limits the KL.

    C has the unit of the surrogate per nat. Here L is the mean over samples of the batch's own advantages. If they are
    normalised, a `penalty_coefficient` means the same in every environment: the KL of Newton's step is about
    R^2 / (2 C^2), where R^2 <= 1 is the share of the advantages' variance that the policy's scores explain.

    - "fixed": C = penalty_coefficient.
    - "adaptive": C starts at penalty_coefficient. It is doubled after a step that was shortened or refused, or whose KL
      is above 1.5 target_kl, and halved after a step whose KL is below target_kl / 1.5. C is part of the state.
    - "theory": C = 4 epsilon gamma / (1 - gamma)^2 of the lower bound, where epsilon = max |A| of the batch,
      unnormalised, and 0 < gamma < 1. The bound's L sums raw advantages over unnormalised visits, 1 / (1 - gamma) in
      all, so it is L / (1 - gamma) times the scale of the advantages. In the units of L here, C is
      4 epsilon gamma / (1 - gamma) / scale. Steps are then tiny. The bound uses the largest KL; with the mean KL used
      here, even this C does not guarantee improvement.

    Raises:
      ValueError: a setting is outside its range.

    Source:
      Schulman et al. (2015), section 4, before equation 11, and appendix C; the adaptive C: Schulman et al. (2017),
      section 4;
      lecture, "Solving the KL-penalized problem" and "iterative optimization with Newton's method".
    """

    penalty: Penalty = "adaptive"
    """How C is set: fixed, adapted to target_kl, or by the theory's lower bound (steps are then tiny)."""
    penalty_coefficient: float = 5.0
    """The fixed or the initial adaptive C, in surrogate units per nat, positive and finite."""
    target_kl: float | None = None
    """Mean joint KL of a step that the adaptive C aims at, in nats, positive and finite. None: 0.01 for each action
    dimension."""
    penalty_solver: PenaltySolver = "newton"
    """One step along (1/C) F^-1 g with a line search, or minibatch steps of Adam on L - C KL."""
    first_order: FirstOrder = FirstOrder()
    """How Adam maximises the penalised objective, if penalty_solver is first-order."""
    direction: NaturalDirection = NaturalDirection()
    """How the natural direction is computed, if penalty_solver is newton."""
    search: Backtracking = Backtracking()
    """How far along the direction the step goes, if penalty_solver is newton."""

    def __post_init__(self) -> None:
        require_allowed(self, penalty_coefficient="(0, inf)", target_kl="(0, inf)")

    def check_gamma(self, gamma: float) -> None:
        usable = self.penalty != "theory" or 0 < gamma < 1
        require(usable, "gamma", "in (0, 1) for the penalty of the theory", gamma)

    def settled(self, distribution: ActionDistribution) -> Self:
        given = self.target_kl is not None
        return self if given else dataclasses.replace(self, target_kl=default_kl(distribution))

    def make_state(self, policy: Policy) -> State:
        adapted = optimizer = None
        if self.penalty == "adaptive":
            adapted = tf.Variable(self.penalty_coefficient, dtype=tf.float64, trainable=False)
        if self.penalty_solver == "first-order":
            import keras

            optimizer = keras.optimizers.Adam(self.first_order.penalty_learning_rate)
            optimizer.build(policy.trainable_variables)
        return State(adapted, optimizer)

    def propose(self, objective: Objective, state: State, progress: float | tf.Tensor) -> Proposal:
        gradient = objective.gradient()
        coefficient = self._coefficient(objective, state)
        solution = None
        if self.penalty_solver == "newton":
            search, solution = self._newton(objective, gradient, coefficient)
        else:
            search = self.first_order.search(objective, state.optimizer, gradient, coefficient)
        if self.penalty == "adaptive":
            state.adapted.assign(self._adapt(coefficient, search))
        return Proposal(gradient, search, solution, penalty_coefficient=coefficient)

    def _coefficient(self, objective: Objective, state: State) -> tf.Tensor:
        """Compute C in the units of the batch's advantages, float64 scalar."""
        if self.penalty == "adaptive":
            return tf.identity(state.adapted)
        if self.penalty == "fixed":
            return scalar(self.penalty_coefficient, tf.float64)
        gamma = math.nan if objective.gamma is None else objective.gamma
        if not tf.is_tensor(gamma):
            self.check_gamma(gamma)
        unit = advantage_scale(objective.batch) / (1.0 - gamma)
        return theoretical_penalty(largest_advantage(objective.batch.rows), gamma) / unit

    def _newton(
        self, objective: Objective, gradient: tf.Tensor, coefficient: tf.Tensor
    ) -> tuple[LineSearchResult, ConjugateGradientResult]:
        def penalised(theta: tf.Tensor) -> tuple[tf.Tensor, ...]:
            figures = objective.figures(theta)
            return figures.improvement - coefficient * figures.kl, figures.kl, *figures.tensors[1:]

        solution = self.direction.solve(objective, gradient)
        # The theory's C is 0 only if all advantages are 0, and then the direction is 0, too.
        step = tf.math.divide_no_nan(solution.solution, tf.cast(coefficient, gradient.dtype))
        found = self.search.search(objective, penalised, step, max_kl=math.inf)
        return found._replace(improvement=found.improvement + coefficient * found.kl), solution

    def _adapt(self, coefficient: tf.Tensor, search: LineSearchResult) -> tf.Tensor:
        assert self.target_kl is not None
        no_direction = tf.equal(search.status, int(LineSearchStatus.NO_DIRECTION))
        refused = ~no_direction & ~was_taken(search)
        too_far = refused | (search.kl > _TOLERANCE * self.target_kl)
        if self.penalty_solver == "newton":
            too_far |= search.backtracks > 0
        too_near = search.kl < self.target_kl / _TOLERANCE
        factor = tf.where(too_far, 2.0, tf.where(too_near & ~no_direction, 0.5, 1.0))
        limits = (self.penalty_coefficient * 2.0**power for power in (-_DOUBLINGS, _DOUBLINGS))
        return tf.clip_by_value(coefficient * tf.cast(factor, tf.float64), *limits)
