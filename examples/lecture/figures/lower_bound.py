"""Figure 5: expected return, local approximation and lower bound along a line between two policies."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize_scalar

from tf_trpo.figures.style import BLACK, BLUE, GREEN, GREY, VERMILION
from tf_trpo.theory import FiniteMDP, local_approximation, lower_bound

GAMMA = 0.2
"""Small enough for the guaranteed region to be visible, which shrinks with (1 - gamma)^2."""


class LowerBoundData(NamedTuple):
    """Curves over alpha for the policy (1 - alpha) old + alpha target.

    Attributes:
      alpha: values in [0, 1), [X].
      expected_returns: eta, [X].
      approximations: L, [X].
      lower_bounds: M = L - C D_KL^max, [X].
      guaranteed_until: the largest alpha with M >= eta(old).
      best_alpha: the alpha at which M is largest.
      improved_until: the largest alpha such that eta >= eta(old) for all smaller ones.
    """

    alpha: NDArray[np.float64]
    expected_returns: NDArray[np.float64]
    approximations: NDArray[np.float64]
    lower_bounds: NDArray[np.float64]
    guaranteed_until: float
    best_alpha: float
    improved_until: float


def ridge() -> tuple[FiniteMDP, NDArray[np.float64], NDArray[np.float64]]:
    """Make an MDP, an old policy, and a target policy that seems better from the old policy than it is.

    In the safe state, action 1 pays and leads to the ridge. On the ridge, action 1 is a costly fall. The target takes
    both actions. The old policy is rarely on the ridge, so that L counts the pay fully but the fall little. The closer
    the policy comes to the target, the more often it is on the ridge and falls.
    """
    transitions = np.zeros((2, 2, 2))
    transitions[0, 0, 0] = transitions[0, 1, 1] = 1.0
    transitions[1, :, 0] = 1.0
    rewards = np.array([[0.0, 1.0], [0.0, -4.0]])
    old = np.array([[0.6, 0.4], [0.5, 0.5]])
    return FiniteMDP(transitions, rewards, np.array([1.0, 0.0]), GAMMA), old, np.array([[0.0, 1.0], [0.0, 1.0]])


def compute() -> LowerBoundData:
    """Compute the three curves, and find the ends of the two regions as roots."""
    mdp, old_policy, target = ridge()
    old = mdp.evaluate(old_policy)

    def mixed(alpha: float) -> NDArray[np.float64]:
        return (1 - alpha) * old_policy + alpha * target

    def bound_gain(alpha: float) -> float:
        return lower_bound(old, mixed(alpha)) - old.expected_return

    def true_gain(alpha: float) -> float:
        return mdp.evaluate(mixed(alpha)).expected_return - old.expected_return

    best = minimize_scalar(
        lambda alpha: -bound_gain(alpha), bounds=(0.0, 0.5), method="bounded", options={"xatol": 1e-9}
    )
    alpha = np.linspace(0, 0.999, 2000)
    new_policies = [mixed(float(value)) for value in alpha]
    return LowerBoundData(
        alpha=alpha,
        expected_returns=np.array([mdp.evaluate(policy).expected_return for policy in new_policies]),
        approximations=np.array([local_approximation(old, policy) for policy in new_policies]),
        lower_bounds=np.array([lower_bound(old, policy) for policy in new_policies]),
        guaranteed_until=float(brentq(bound_gain, best.x, 0.999)),
        best_alpha=float(best.x),
        improved_until=float(brentq(true_gain, 0.01, 0.999)),
    )


def draw(data: LowerBoundData) -> Figure:
    """Draw the whole line, and the neighbourhood of the old policy where improvement is guaranteed."""
    figure = Figure(figsize=(11.5, 5.0))
    whole, near = figure.subplots(1, 2)
    for axes in (whole, near):
        _curves(axes, data)
    low, high = data.expected_returns.min(), data.approximations.max()
    margin = 0.1 * (high - low)
    whole.set(xlim=(0, 1), ylim=(low - margin, high + margin), ylabel="expected return")
    whole.set_title(rf"From the old policy to another ($\gamma$ = {GAMMA})")
    whole.annotate(
        "no better than the old policy\nfrom here on",
        (data.improved_until, data.expected_returns[0]),
        xytext=(-12, -52),
        textcoords="offset points",
        ha="center",
        arrowprops={"arrowstyle": "->", "color": GREY},
    )
    _zoom(near, data)
    figure.legend(*whole.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _curves(axes: Axes, data: LowerBoundData) -> None:
    old_return = data.expected_returns[0]
    axes.axvspan(0, data.guaranteed_until, color=GREEN, alpha=0.18, linewidth=0, label="improvement guaranteed")
    axes.axhline(old_return, color=GREY, linewidth=0.9, linestyle=":")
    axes.plot(data.alpha, data.approximations, "--", color=BLUE, label=r"local approximation $L$")
    axes.plot(data.alpha, data.expected_returns, color=BLACK, linewidth=2.4, label=r"expected return $\eta$")
    axes.plot(data.alpha, data.lower_bounds, color=VERMILION, label=r"lower bound $L - C\,D_{KL}^{max}$")
    axes.set_xlabel(r"$\alpha$: policy $(1 - \alpha)\,\pi_{old} + \alpha\,\pi_{target}$")


def _zoom(axes: Axes, data: LowerBoundData) -> None:
    until, old_return = data.guaranteed_until, data.expected_returns[0]
    shown = data.alpha <= 2.0 * until
    low, high = data.lower_bounds[shown].min(), data.approximations[shown].max()
    axes.set(xlim=(0, 2.0 * until), ylim=(low, high))
    best_bound = data.lower_bounds.max()
    axes.plot(data.best_alpha, best_bound, "o", color=VERMILION, markersize=7)
    axes.annotate(
        "step of minorization-maximization\nalong this line",
        (data.best_alpha, best_bound),
        xytext=(0, -60),
        textcoords="offset points",
        ha="center",
        arrowprops={"arrowstyle": "-", "color": VERMILION},
    )
    axes.text(2.0 * until, old_return, r"$\eta(\pi_{old})$ ", ha="right", va="bottom", color=GREY)
    axes.set_title(rf"Near the old policy: the bound is above $\eta(\pi_{{old}})$ up to $\alpha$ = {until:.3f}")
