"""What is logged of a policy step: its outcome, and the lower bound on the return."""

from __future__ import annotations

import tensorflow as tf

from tf_trpo.estimation import Batch, estimate_lower_bound
from tf_trpo.optimizers import Outcome

Metrics = dict[str, tf.Tensor]


def outcome_metrics(outcome: Outcome) -> Metrics:
    """The outcome under Stable-Baselines3's names where they exist, and under its own."""
    figures = {
        "train/policy_objective": outcome.surrogate,
        "train/kl_divergence_loss": outcome.kl,
        "train/is_line_search_success": outcome.accepted,
        "train/candidate_kl": outcome.candidate_kl,
        "train/candidate_improvement": outcome.candidate_improvement,
        "train/max_kl_over_states": outcome.max_kl_over_states,
        "train/line_search_status": outcome.line_search_status,
        "train/backtracks": outcome.backtracks,
        "train/predicted_improvement": outcome.predicted_improvement,
        "train/actual_improvement": outcome.actual_improvement,
        "train/improvement_ratio": outcome.improvement_ratio,
        "train/entropy": outcome.entropy,
        "train/gradient_norm": outcome.gradient_norm,
        "train/step_norm": outcome.step_norm,
        "train/cg_status": outcome.cg_status,
        "train/cg_iterations": outcome.cg_iterations,
        "train/cg_residual": outcome.cg_residual,
        "train/trust_region_radius": outcome.trust_region_radius,
        "train/penalty_coefficient": outcome.penalty_coefficient,
    }
    return {name: figure for name, figure in figures.items() if figure is not None}


def bound_metrics(batch: Batch, outcome: Outcome, gamma: float) -> Metrics:
    """The lower bound on the return, estimated; see `estimate_lower_bound` for what it is worth."""
    bound = estimate_lower_bound(
        batch,
        predicted=outcome.predicted_improvement,
        actual=outcome.actual_improvement,
        max_kl=outcome.max_kl_over_states,
        gamma=gamma,
    )
    figures = {"mean_kl": outcome.kl, "max_kl": outcome.max_kl_over_states, **bound._asdict()}
    return {f"bound/{name}": figure for name, figure in figures.items()}
