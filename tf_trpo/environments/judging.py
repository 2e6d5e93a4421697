"""Derive findings from a random play of an environment."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tf_trpo.environments.findings import WRAPPER, Finding, error, warning
from tf_trpo.environments.probing import LONGEST, Play

SLOW = 200
"""Steps per second below which an environment counts as slow: a million steps take more than 80 minutes."""
_FEW = 50
"""Number of steps from which on their speed is judged."""
_UNEQUAL = 1e4
"""Largest allowed ratio of the largest reward to the median of the nonzero rewards, in absolute values."""
_SMALLEST, _LARGEST = 1e-16, 1e18
"""Range of rewards whose returns have a variance that float32 holds."""

_AT_LIMIT = (
    "at a time limit return terminated=False, truncated=True; terminated is for ends that belong to the task itself."
)


def of_play(seen: Play, *, has_limit: bool) -> Iterator[Finding]:
    """Yield the findings of a play.

    Args:
      seen: the play.
      has_limit: whether the environment has a time limit.
    """
    yield from _of_observations(seen)
    yield from _of_rewards(seen)
    yield from _of_figures(seen)
    yield from _of_speed(seen)
    yield from _of_episodes(seen, has_limit=has_limit)


def _of_observations(seen: Play) -> Iterator[Finding]:
    if seen.failure is not None:
        advice = "correct the environment: training would end with the same error."
        yield error("failure", f"after {len(seen.rewards)} steps it {seen.failure}.", advice)
    if seen.not_finite is not None:
        yield error(
            "not-finite",
            f"it gave a number that is not finite: {seen.not_finite}. A rollout with such a number is discarded, and "
            "training ends after max_faults of them in a row.",
            "find the division by zero or the unstable physics behind it, and end the episode before it happens.",
        )
    if seen.outside is not None:
        yield warning(
            "outside-space",
            f"it gave an observation outside of its space: {seen.outside}. Training works, since observations are "
            "normalised by their statistics; exported models and other programs rely on the bounds.",
            "correct the bounds of the observation space, or clip the observation.",
        )
    if seen.mutated:
        yield warning(
            "mutated-observation",
            "it changes an observation that it has returned before. Training copies observations immediately, but code "
            "that keeps one, such as a wrapper that stacks frames, sees later values in it.",
            "return a copy: `return observation.copy(), ...`.",
        )
    if seen.empty_masks:
        yield warning(
            "empty-mask",
            f"in {seen.empty_masks} of {len(seen.rewards)} steps, its mask allowed no choice of an action; all choices "
            "count as allowed then.",
            "allow at least one choice, such as one that does nothing, or end the episode where nothing is allowed.",
        )
    if seen.unused_mask:
        yield warning(
            "unused-mask",
            'its infos have an "action_mask" that is not used: the policy will also choose actions that it forbids.',
            "use the masks: --action-masks info, or action_masks='info' in Python.",
        )


def _of_rewards(seen: Play) -> Iterator[Finding]:
    rewards = np.array(seen.rewards)
    rewards = rewards[np.isfinite(rewards)]
    if len(rewards) < 2:
        return
    advice = (
        "reward steps towards the goal, begin some episodes near it, or expect that random actions need many steps to "
        "find a reward."
    )
    if not rewards.any():
        yield warning(
            "no-reward",
            f"all {len(rewards)} rewards of random actions were 0: there is nothing to learn from until chance finds "
            "another reward.",
            advice,
        )
    elif np.ptp(rewards) == 0 and len(set(seen.lengths)) <= 1:
        yield warning(
            "equal-rewards",
            f"all {len(rewards)} rewards were {rewards[0]:g}, and no episode was shorter than another: whatever random "
            "actions do, the return is the same, so there is nothing to learn from until chance finds another one.",
            advice,
        )
    sizes = np.abs(rewards[rewards != 0])
    if len(sizes) and not _SMALLEST <= sizes.max() <= _LARGEST:
        yield warning(
            "reward-range",
            f"the largest reward is {sizes.max():.2g}: rewards are divided by the standard deviation of the return, "
            f"which is computed in float32 and is wrong for rewards below {_SMALLEST:g} or above {_LARGEST:g}.",
            f"multiply all rewards by a constant, by {WRAPPER}.",
        )
    if len(sizes) and sizes.max() > _UNEQUAL * np.median(sizes):
        yield warning(
            "unequal-rewards",
            f"the largest reward, {sizes.max():g}, is {sizes.max() / np.median(sizes):.2g} times as large as the "
            f"median one, {np.median(sizes):g}: rewards are divided by the spread of the return, after which the "
            "small ones hardly count.",
            f"make the large reward smaller, or clip it by {WRAPPER}.",
        )


def _of_figures(seen: Play) -> Iterator[Finding]:
    for key, count in seen.infos.items():
        if not count and seen.lengths:
            what = f"no info of the last step of {len(seen.lengths)} episodes had {key!r}, which should be logged."
            yield warning("no-figure", what, f"put info[{key!r}] = a number at the end of an episode, or leave it out.")


def _of_speed(seen: Play) -> Iterator[Finding]:
    rate = seen.rate
    # The first steps, and resets, may take longer than others.
    if (len(seen.rewards) >= _FEW or seen.seconds >= LONGEST) and rate < SLOW:
        yield warning(
            "slow",
            f"it takes {rate:.3g} steps per second: a million steps take {1e6 / rate / 3600:.2g} hours in one "
            "environment, however fast the updates are.",
            "step several in processes of their own: --num-envs 16 --backend async; or make the environment faster.",
        )


def _of_episodes(seen: Play, *, has_limit: bool) -> Iterator[Finding]:
    stopped = seen.failure is not None or seen.seconds >= LONGEST
    if not seen.lengths and not has_limit and not stopped:
        yield warning(
            "no-end",
            f"no episode ended in {len(seen.rewards)} steps, and there is no time limit: returns are known at the end "
            "of episodes only, so none may ever be logged, and an evaluation cuts each episode at max_episode_steps, "
            "by default 100,000.",
            "give it a time limit: gymnasium.register(..., max_episode_steps=1000), or gymnasium.wrappers.TimeLimit.",
        )
    truncated = [ends for ends in seen.endings if ends[1]]
    if truncated and all(terminated for terminated, _ in truncated):
        yield warning(
            "terminated-at-limit",
            f"all {len(truncated)} episodes that were truncated were terminated in the same step. Then terminated "
            "takes precedence: the future counts as worth 0, as if the time limit were a failure.",
            _AT_LIMIT,
        )
    elif not truncated and len(seen.lengths) > 2 and len(set(seen.lengths)) == 1 and seen.lengths[0] > 1:
        yield warning(
            "equal-lengths",
            f"all {len(seen.lengths)} episodes were terminated after exactly {seen.lengths[0]} steps. If this is a "
            "time limit, the future counts as worth 0 there, as if it were a failure.",
            _AT_LIMIT,
        )
