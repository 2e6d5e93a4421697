"""The noise of rollouts, from which actions are sampled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tf_trpo.rollouts.seeds import Stream, numpy_generator, operation_seed
from tf_trpo.rollouts.vine import BranchNoise, Vine

if TYPE_CHECKING:
    from tf_trpo.distributions import ActionDistribution


def rollout_noise(
    vine: Vine | None, distribution: ActionDistribution, num_steps: int, num_envs: int, seed: int, iteration: int
) -> tuple[Any, ...]:
    """Draw the noise of an iteration's rollout, and, with branches, their noise and their first rows.

    The noise of the rollout itself is the same with and without branches.
    """
    noise = distribution.noise([num_steps, num_envs], operation_seed(seed, Stream.ACTIONS, iteration)).numpy()
    if vine is None:
        return (noise,)
    rows = vine.rows(num_steps, numpy_generator(seed, Stream.BRANCHES, iteration))
    drawn = 0 if vine.tries_all else vine.actions
    shape = [vine.states, drawn + vine.steps - 1, num_envs]
    of_branches = distribution.noise(shape, operation_seed(seed, Stream.BRANCH_ACTIONS, iteration)).numpy()
    return noise, BranchNoise(rows, of_branches[:, :drawn], of_branches[:, None, drawn:])
