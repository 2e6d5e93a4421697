"""Trust Region Policy Optimization: lines 7 to 9 of Algorithm 1."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Self

from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics.schedules import linear
from tf_trpo.optimizers.adaptive_radius import AdaptiveRadius
from tf_trpo.optimizers.backtracking import Backtracking
from tf_trpo.optimizers.constrained_direction import ConstrainedDirection, constrained_direction
from tf_trpo.optimizers.constraints import Constraint, anchor_constraint
from tf_trpo.optimizers.demonstration_bonus import DemonstrationBonus
from tf_trpo.optimizers.entropy_bonus import EntropyBonus
from tf_trpo.optimizers.natural_direction import NaturalDirection
from tf_trpo.optimizers.objective import AddedTerm, Objective, PolicyFigures
from tf_trpo.optimizers.policy_optimizer import PolicyOptimizer, Proposal, State, default_kl
from tf_trpo.optimizers.problem import Problem
from tf_trpo.ranges import require, require_allowed

if TYPE_CHECKING:
    from tf_trpo.distributions.action_distribution import ActionDistribution
    from tf_trpo.models import Policy

KLConstraint = Literal["mean", "max"]


@dataclasses.dataclass(frozen=True)
class TrustRegion(PolicyOptimizer):
    """Maximise the surrogate advantage subject to mean KL(old || new) <= max_kl.

    The direction is x ~ (F + damping I)^-1 g by conjugate gradient. Its length makes the quadratic model of the KL,
    1/2 x'Fx without damping, equal max_kl. The line search takes the first of ratio^j times this step that improves
    the surrogate and keeps the KL within max_kl. If no candidate does, the parameters stay as they are.

    The KL is joint over all action dimensions, and the default limit grows with their number d. In an implementation
    that averages the KL over the dimensions (sb3-contrib), the same number means a trust region d times as large.

    With constraint="max", the limit is on the largest KL over the sampled states, as in the theory, instead of the
    mean. The direction is the same. The full step for the mean constraint is shortened so that the largest KL, modelled
    as quadratic through its value at that step, equals max_kl.

    With final_max_kl, the limit goes linearly from max_kl to final_max_kl as the run progresses: long steps while there
    is much to learn, short ones when mostly noise is left.

    An `EntropyBonus` and a `DemonstrationBonus` are parts of the gradient and of the value that the line search
    improves.

    With an `AdaptiveRadius`, max_kl is only the first limit. The limit is then part of the state and changes after each
    step.

    With anchor_kl, the mean KL(anchor || policy) over the sampled states is limited, too: the policy stays near the
    anchor that the agent is compiled with. If new states or statistics have raised this KL above its limit, the step
    reduces it.

    Raises:
      ValueError: a setting is outside its range, or radius is combined with final_max_kl or with other limits.

    Source:
      Schulman et al. (2015), equations 11 and 12 and appendix C; lecture, Algorithm 1; with an anchor, see
      `constrained_direction`.
    """

    max_kl: float | None = None
    """Limit on the joint KL(old || new) of a step, in nats, positive and finite; see constraint. None: 0.01 for each
    action dimension."""
    final_max_kl: float | None = None
    """The limit at the end of the run, in nats, positive and finite, reached linearly; None to keep max_kl."""
    constraint: KLConstraint = "mean"
    """Limit the mean KL over the sampled states, or the largest one."""
    radius: AdaptiveRadius | None = None
    """Rule that adapts the limit to how well the linear model predicted the last improvement; None, or
    `fixed` on the command line: no adaptation."""
    anchor_kl: float | None = None
    """Limit on the mean joint KL(anchor || policy), in nats, positive and finite; None without an anchor."""
    direction: NaturalDirection = NaturalDirection()
    """How the natural direction is computed."""
    search: Backtracking = Backtracking()
    """How far along the direction the step goes."""
    entropy: EntropyBonus = EntropyBonus()
    """Bonus for the policy's entropy."""
    imitation: DemonstrationBonus = DemonstrationBonus()
    """Bonus for the likelihood of demonstrated actions."""

    def __post_init__(self) -> None:
        require_allowed(self, max_kl="(0, inf)", final_max_kl="(0, inf)", anchor_kl="(0, inf)")
        if self.is_constrained:
            # The radius follows the surrogate's improvement, and a step that restores a limit may not improve it.
            require(self.radius is None, "radius", "None with an anchor or limits on costs", self.radius)
        if self.radius is not None:
            require(self.final_max_kl is None, "final_max_kl", "None if the radius adapts", self.final_max_kl)
            if self.max_kl is not None:
                self.radius.check_start(self.max_kl)

    @property
    def is_scheduled(self) -> bool:
        return self.final_max_kl is not None

    @property
    def imitates(self) -> bool:
        return self.imitation.counts

    @property
    def is_constrained(self) -> bool:
        """Whether a step has limits in addition to max_kl."""
        return self.anchor_kl is not None

    @property
    def limits_on_costs(self) -> tuple[float, ...] | None:
        """The limit on the mean total of each cost; None if the algorithm limits no costs."""
        return None

    def check_problem(self, problem: Problem) -> None:
        if self.limits_on_costs is not None:
            problem.check_cost_limits(self.limits_on_costs)
        if problem.is_anchored != (self.anchor_kl is not None):
            given, missing = ("an anchor", "anchor_kl") if problem.is_anchored else ("anchor_kl", "an anchor")
            raise ValueError(f"{given} is given without {missing}: {type(self).__name__} needs both or neither")
        if self.anchor_kl is not None or self.limits_on_costs is not None:
            problem.check_limits_hold()

    def settled(self, distribution: ActionDistribution) -> Self:
        if self.max_kl is not None:
            return self
        limit = default_kl(distribution)
        return dataclasses.replace(self, max_kl=limit if self.radius is None else self.radius.clipped(limit))

    def make_state(self, policy: Policy) -> State:
        self.entropy.check(policy)
        adapted = None
        if self.radius is not None:
            adapted = tf.Variable(self.settled(policy.action_distribution).max_kl, dtype=tf.float64, trainable=False)
        return State(adapted, steps=tf.Variable(0, dtype=tf.int64, trainable=False) if self.imitation.counts else None)

    def propose(self, objective: Objective, state: State, progress: float | tf.Tensor) -> Proposal:
        limit = self._limit(state, progress)
        gradient, rising = objective.gradient(), self._rising(objective, state)
        uphill = gradient
        for each in rising.values():
            uphill += each.gradient
        solve = self.direction.solver(objective)
        solution = solve(uphill)
        share = None if self.constraint == "mean" else functools.partial(self._share_of_largest, objective, limit=limit)
        found = constrained_direction(
            self._constraints(objective, state),
            objective,
            solve,
            uphill,
            solution,
            limit,
            damping=self.direction.cg_damping,
            share=share,
        )
        search, limited = found.search(
            self.search,
            objective,
            lambda theta: self._judged(theta, objective.figures(theta), rising),
            self._within_largest(objective, found.step, limit),
            limit,
        )
        if self.radius is not None:
            predicted = tf.reduce_sum(uphill * (search.theta - objective.theta))
            predicted = tf.cast(predicted, tf.float64)
            state.adapted.assign(self.radius.after(limit, predicted, search, self.search.backtrack_ratio))
        new = PolicyFigures(search.improvement, *search.figures)
        bonuses = {name: each.gain(search.theta, new) for name, each in rising.items()}
        figures = self._figures(found, limited)
        return Proposal(gradient, search, solution, limit, uphill=uphill, bonuses=bonuses, figures=figures)

    def _rising(self, objective: Objective, state: State) -> dict[str, AddedTerm]:
        """Return the bonuses as terms of the objective, by their names in the `Outcome`."""
        rising = {}
        if self.entropy.counts:
            rising["entropy_bonus"] = self.entropy.rising(objective)
        if self.imitation.counts:
            rising["demonstration_bonus"] = self.imitation.rising(objective, state)
        return rising

    def _constraints(self, objective: Objective, state: State) -> list[Constraint]:
        """Return the constraints in addition to the KL; the anchor's is the last one."""
        return [] if self.anchor_kl is None else [anchor_constraint(objective, self.anchor_kl)]

    def _figures(self, found: ConstrainedDirection, figures: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
        """Return the constraints' figures at the new parameters, by their names in the `Outcome`."""
        named = {"restores": found.restored >= 0} if found.constraints else {}
        return named if self.anchor_kl is None else {**named, "anchor_kl": figures[-1]}

    def _limit(self, state: State, progress: float | tf.Tensor) -> tf.Tensor | float:
        assert self.max_kl is not None
        if self.radius is not None:
            return tf.identity(state.adapted)
        if self.final_max_kl is not None:
            return linear(self.max_kl, self.final_max_kl, progress)
        return self.max_kl

    def _within_largest(self, objective: Objective, step: tf.Tensor, limit: tf.Tensor | float) -> tf.Tensor:
        """Shorten the full step for the mean KL if the largest KL is limited."""
        if self.constraint == "mean":
            return step
        share = self._share_of_largest(objective, step, limit)
        return tf.cast(tf.sqrt(share), step.dtype) * step

    def _share_of_largest(self, objective: Objective, step: tf.Tensor, limit: tf.Tensor | float) -> tf.Tensor:
        """Return the fraction of a step's mean KL that remains if it is shortened to the limit on the largest KL."""
        largest = objective.figures(objective.theta + step).max_kl_over_states
        # If the KL overflows, backtracking shortens the step.
        shorten = tf.math.is_finite(largest) & (largest > limit)
        within = tf.math.divide_no_nan(tf.convert_to_tensor(limit, tf.float64), largest)
        return tf.where(shorten, within, 1.0)

    def _judged(
        self, theta: tf.Tensor, figures: PolicyFigures, rising: Mapping[str, AddedTerm]
    ) -> tuple[tf.Tensor, ...]:
        """Return the value to improve, the limited KL, and the figures that the search only carries along."""
        improvement = figures.improvement
        for each in rising.values():
            improvement += each.gain(theta, figures)
        limited = figures.kl if self.constraint == "mean" else figures.max_kl_over_states
        return improvement, limited, *figures.tensors[1:]
