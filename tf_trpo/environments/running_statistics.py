"""Find wrappers with running statistics, which begin again wherever an environment is made."""

from __future__ import annotations

import gymnasium as gym
from gymnasium.vector import SyncVectorEnv, VectorEnv, VectorWrapper
from gymnasium.wrappers import NormalizeObservation, NormalizeReward
from gymnasium.wrappers import vector as of_vectors

_KINDS = (NormalizeObservation, NormalizeReward, of_vectors.NormalizeObservation, of_vectors.NormalizeReward)

ADVICE = "leave it out: the agent normalises observations and rewards itself."


def running_statistics(env: gym.Env | VectorEnv) -> str | None:
    """Describe the harm of an environment's wrappers with running statistics.

    Args:
      env: an environment or a vector environment with its wrappers. Those in other processes are not seen.

    Returns:
      A sentence that names the wrappers; None if there are none, or all of them have stopped updating.
    """
    found = _found(env)
    if not found:
        return None
    names = " and ".join(dict.fromkeys(type(each).__name__ for each in found))
    harm = "evaluations, films and resumed runs begin with new ones, and so scale differently than training"
    is_of_rewards = any(isinstance(each, NormalizeReward | of_vectors.NormalizeReward) for each in found)
    returns = "; the logged returns are not the environment's" if is_of_rewards else ""
    return f"it has running statistics ({names}): {harm}{returns}."


def _found(env: gym.Env | VectorEnv) -> list[gym.Env | VectorEnv]:
    own: list[gym.Env | VectorEnv] = [env] if isinstance(env, _KINDS) and env.update_running_mean else []
    if isinstance(env, gym.Wrapper | VectorWrapper):
        return [*own, *_found(env.env)]
    return _found(env.envs[0]) if isinstance(env, SyncVectorEnv) else own
