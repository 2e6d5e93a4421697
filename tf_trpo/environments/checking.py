"""Check an environment before training: report what will go wrong, and what to do about it."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np

from tf_trpo.distributions.action_box import has_bounds
from tf_trpo.environments.costs import Cost, find_costs
from tf_trpo.environments.failures import EnvironmentFailedError, NoSpaceError, cause, close_anyway, described
from tf_trpo.environments.findings import WRAPPER, EnvironmentReport, Finding, error, warning
from tf_trpo.environments.judging import of_play
from tf_trpo.environments.making import Wrapper, make_wrapped
from tf_trpo.environments.masks import ActionMasks
from tf_trpo.environments.probing import Play, boxes, described_space, play, trace
from tf_trpo.environments.running_statistics import ADVICE, running_statistics
from tf_trpo.models.settings import PolicySettings
from tf_trpo.ranges import check_whole_numbers
from tf_trpo.spaces import observation_spec, parts, without_masks

if TYPE_CHECKING:
    from tf_trpo.models import Policy

_TRACED = 200
"""Maximum number of steps of the episode that is played twice."""


def check_environment(
    environment: str | Callable[[], gym.Env],
    *,
    env_kwargs: Mapping[str, Any] | None = None,
    wrappers: Sequence[Wrapper] = (),
    action_masks: ActionMasks = "auto",
    info_keys: Sequence[str] = (),
    costs: Sequence[Cost] = (),
    steps: int = 2000,
    seed: int = 0,
) -> EnvironmentReport:
    """Step an environment with random actions, and report what will go wrong when an agent is trained in it.

    Args:
      environment: a Gymnasium id, a function or class without arguments that makes a new environment at every call, or
        the name "module:Class" of one.
      env_kwargs, wrappers, action_masks, info_keys, costs: as for `make_vector_environment`.
      steps: number of steps to take, >= 1; fewer if they take longer than `probing.LONGEST` seconds. Then an episode of
        at most as many steps, and at most 200, is played twice.
      seed: seed of the episodes and the actions, >= 0.

    Returns:
      An `EnvironmentReport`. Whatever the environment raises becomes a finding.

    Raises:
      TypeError, ValueError: steps or seed is not an integer, or is too small; or as `find_costs`.
    """
    check_whole_numbers(steps=steps)
    check_whole_numbers(lowest=0, seed=seed)
    found = find_costs(costs)
    making: dict[str, Any] = {"env_kwargs": env_kwargs, "wrappers": wrappers, "action_masks": action_masks}
    make = functools.partial(make_wrapped, environment, **making)
    with warnings.catch_warnings():
        # Gymnasium's own checker warns of some of the faults that are reported here.
        warnings.filterwarnings("ignore", message=r"\S*WARN: ")
        try:
            env = make()
        except (Exception, SystemExit) as raised:
            return EnvironmentReport((_unmakeable(raised),), {})
        try:
            report = _report(env, make, seed, functools.partial(play, env, steps, seed, info_keys, found))
        except BaseException:
            close_anyway(env)
            raise
        return dataclasses.replace(report, findings=(*report.findings, *_of_closing(env)))


def _of_closing(env: gym.Env) -> Iterator[Finding]:
    try:
        env.close()
    except (Exception, SystemExit) as raised:
        what = f"its close() raised {described(raised).rstrip('.')}."
        yield warning("close-fails", what, "let close() work at any time, also twice, and before the first reset.")


def _unmakeable(raised: BaseException) -> Finding:
    if isinstance(raised, NoSpaceError):
        advice = "set self.observation_space and self.action_space in the environment's constructor."
        return error("no-space", f"{raised}.", advice)
    if isinstance(raised, ValueError | gym.error.UnregisteredEnv | ModuleNotFoundError):
        # A refusal of this package, or a name that Gymnasium does not know.
        reason = str(raised).rstrip(".")
        what = f"it cannot be made with these arguments: {reason}{'' if reason.endswith('?') else '.'}"
        return error("cannot-be-made", what, "correct the name, the function or its arguments, wrappers or masks.")
    what = f"it cannot be made: {described(cause(raised)).rstrip('.')}."
    return error("cannot-be-made", what, "make it once in Python, without tf_trpo, and fix its error.")


def _report(env: gym.Env, make: Callable[[], gym.Env], seed: int, played: Callable[[], Play]) -> EnvironmentReport:
    facts = {"observations": described_space(env.observation_space), "actions": described_space(env.action_space)}
    findings = list(_of_spaces(env))
    if any(finding.severity == "error" for finding in findings):
        # The environment's observations and actions cannot be used, so it cannot be stepped.
        return EnvironmentReport(tuple(findings), facts)
    facts |= _policy_facts(_policy(env))
    seen, limit = played(), _time_limit(env)
    facts |= _play_facts(seen, limit)
    findings += of_play(seen, has_limit=limit is not None)
    statistics = running_statistics(env)
    if statistics is not None:
        findings.append(warning("running-statistics", statistics, ADVICE))
    if seen.failure is None:
        repetition = _of_repetition(env, make, seed, steps=min(_TRACED, len(seen.rewards)))
        # Running statistics explain the difference.
        findings += [each for each in repetition if statistics is None or each.name != "not-reproducible"]
    # The sort is stable.
    return EnvironmentReport(tuple(sorted(findings, key=lambda finding: finding.severity != "error")), facts)


def _of_spaces(env: gym.Env) -> Iterator[Finding]:
    advice = f"change the space, or turn it into one that is supported by {WRAPPER}."
    for name, check in (
        ("observation-space", lambda: observation_spec(env.observation_space)),
        ("spaces", lambda: _policy(env)),
    ):
        try:
            check()
        except ValueError as refusal:
            yield error(name, f"the agent cannot be made: {str(refusal).rstrip('.')}.", advice)
            break
    unbounded = [
        part or "the action"
        for part, box, _ in boxes(env.action_space)
        if np.dtype(box.dtype).kind == "f" and not has_bounds(box.low, box.high, box.dtype).all()
    ]
    if unbounded:
        yield warning(
            "unbounded-actions",
            f"{', '.join(unbounded)} lacks a bound in at least one dimension: there, the policy's first standard "
            "deviation, initial_std, is at most 1 in the action's own unit, which may be far too large or too small.",
            f"give the Box finite bounds, by {WRAPPER} if need be, or choose --initial-std in units of the action.",
        )


def _of_repetition(env: gym.Env, make: Callable[[], gym.Env], seed: int, *, steps: int) -> Iterator[Finding]:
    """Play the same episode in the used environment and in a new one, at most `steps` long, and report differences."""
    advice = (
        "call super().reset(seed=seed), draw from self.np_random only, and let reset set every variable, so that an "
        "episode depends on its seed and its actions alone."
    )
    try:
        other = make()
    except (Exception, SystemExit) as raised:
        what = f"a second one cannot be made while the first exists: {described(cause(raised)).rstrip('.')}."
        yield error("one-only", what, "make a new object at every call, with files and ports of its own.")
        return
    try:
        first, actions = trace(env, seed, None, steps)
        second, _ = trace(other, seed, actions, steps)
    except EnvironmentFailedError as failed:
        yield error("failure", f"when an episode was played again, it failed: {failed}.", advice)
        return
    finally:
        close_anyway(other)
    if first != second:
        place = next(i for i, (one, two) in enumerate(zip(first, second, strict=False)) if one != two)
        where = "its first observation differs" if place == 0 else f"step {place} differs, after equal actions"
        yield warning(
            "not-reproducible",
            f"an episode played again from reset(seed={seed}) is another one: {where}. The same seed will not give the "
            "same run, and a resumed run will not be exact.",
            advice,
        )


def _policy(env: gym.Env) -> Policy:
    """Make the policy of the default settings."""
    # Imported here, since processes without TensorFlow import this package.
    from tf_trpo.models.making import make_policy

    return make_policy(PolicySettings(), env.observation_space, env.action_space, seed=0)


def _policy_facts(policy: Policy) -> dict[str, str]:
    spec, distribution = policy.encoder.spec, policy.action_distribution
    inputs = [part.input_shape for _, part in parts(without_masks(spec, spec))]
    shapes = ", ".join("x".join(map(str, shape)) or "1" for shape in inputs)
    kinds = ", ".join(sorted({part.kind for _, part in parts(spec)}))
    weights = sum(int(np.prod(variable.shape)) for variable in policy.trainable_variables)
    layers = [layer for layer in policy.encoder.network.layers if getattr(layer, "kernel", None) is not None]
    named = [f"{type(layer).__name__} {layer.kernel.shape[-1]}" for layer in layers]
    of_parts = [type(part).__name__ for part in getattr(distribution, "parts", ())]
    kind = type(distribution).__name__ + (f" of {', '.join(of_parts)}" if of_parts else "")
    return {
        "network inputs": f"{sum(int(np.prod(shape)) for shape in inputs)} ({shapes}; {kinds})",
        "network outputs": f"{distribution.num_outputs}",
        "distribution": kind,
        "default network": f"{', '.join(named) or 'linear'}; {weights:,} weights in all",
    }


def _play_facts(seen: Play, limit: str | None) -> dict[str, str]:
    facts = {"time limit": limit or "none"}
    if seen.lengths:
        facts["episodes"] = (
            f"{len(seen.lengths)} of random actions, {min(seen.lengths)} to {max(seen.lengths)} steps long, returns "
            f"{min(seen.returns):.4g} to {max(seen.returns):.4g}"
        )
    if seen.rewards:
        facts["rewards"] = f"{min(seen.rewards):.4g} to {max(seen.rewards):.4g} in {len(seen.rewards)} steps"
        facts["speed"] = f"{seen.rate:,.0f} steps per second in one environment, without the policy"
    return facts


def _time_limit(env: gym.Env) -> str | None:
    steps = getattr(env.spec, "max_episode_steps", None)
    if steps is not None:
        return f"{steps} steps"
    inner: Any = env
    while isinstance(inner, gym.Wrapper):
        if isinstance(inner, gym.wrappers.TimeLimit):
            return "that of a wrapper"
        inner = inner.env
    return None
