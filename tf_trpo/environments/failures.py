"""What can be wrong with an environment while it is stepped."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np


class EnvironmentFailedError(RuntimeError):
    """An environment raised, hung or died; the message names it."""


class InvalidStepError(ValueError):
    """An environment gave an array of another shape than its space has, or a number that is not finite."""


def described(error: BaseException) -> str:
    """Describe an exception on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")


def reason(error: BaseException) -> str:
    """Give the words of an environment's failure or invalid step, or describe what else the environments raised."""
    known = isinstance(error, EnvironmentFailedError | InvalidStepError)
    return str(error) if known else f"the environments raised {described(error)}"


def raised(index: int, error: BaseException) -> EnvironmentFailedError:
    """Make the exception for an environment that raised another one."""
    return EnvironmentFailedError(f"environment {index} raised {described(error)}")


def check_shape(index: int, observation: Any, space: gym.Space) -> None:
    """Raise InvalidStepError if an observation has another shape than its space; only a Box is checked."""
    if isinstance(space, gym.spaces.Box) and np.shape(observation) != space.shape:
        shape = np.shape(observation)
        raise InvalidStepError(f"environment {index} gave an observation of shape {shape}, its space has {space.shape}")


def no_number(index: int, reward: object) -> InvalidStepError:
    """Make the exception for a reward that is no number."""
    return InvalidStepError(f"environment {index} gave a reward that is no number, but a {type(reward).__name__}")
