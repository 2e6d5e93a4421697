"""Charts of a run and the logged figures in them, for TensorBoard, reports and the terminal."""

from __future__ import annotations

from collections.abc import Mapping

STEPS = "time/total_timesteps"

CHARTS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "Learning": {
        "Return": ("rollout/ep_rew_mean", "eval/mean_reward"),
        # The KL that the limit is for, which may be the largest; train/kl_divergence_loss is always the mean.
        "KL of the candidate and its limit, nats": ("train/candidate_kl", "train/trust_region_radius"),
        "Line search: backtracks": ("train/backtracks",),
        "Line search: step accepted": ("train/is_line_search_success",),
        "Improvement of the surrogate": ("train/predicted_improvement", "train/actual_improvement"),
        "Explained variance": ("train/explained_variance",),
    },
    "Policy and value function": {
        "Entropy, nats": ("train/entropy",),
        "Standard deviation of the actions, in half-ranges": ("train/std",),
        "Value loss": ("train/value_loss",),
        "KL that normalisation moved the policy by": ("train/normalization_kl",),
    },
    "Computation": {
        "Episode length": ("rollout/ep_len_mean", "eval/mean_ep_length"),
        "Steps per second": ("time/fps",),
        "Conjugate gradient: iterations": ("train/cg_iterations",),
        "Conjugate gradient: relative residual": ("train/cg_residual",),
    },
    "Lower bound on the return": {
        "Lower bound of the improvement": ("bound/improvement",),
        "L(new) - L(old), in units of return": ("bound/predicted_improvement", "bound/actual_improvement"),
        "KL: mean and largest over states": ("train/kl_divergence_loss", "train/max_kl_over_states"),
    },
}
"""Category -> chart -> names of logged figures."""

FIGURES: Mapping[str, str] = {
    "rollout/ep_rew_mean": "mean episode return",
    "rollout/ep_len_mean": "mean episode length",
    "train/kl_divergence_loss": "mean KL of the step",
    "train/backtracks": "line search: backtracks",
    "train/improvement_ratio": "actual / predicted improvement",
    "train/explained_variance": "explained variance",
    "time/fps": "steps per second",
}
"""Names of the logged figures in short tables -> labels."""
