"""What can be wrong with an environment while it is stepped."""

from __future__ import annotations


class EnvironmentFailedError(RuntimeError):
    """An environment raised, hung or died; the message names it."""


class InvalidStepError(ValueError):
    """An environment gave an array of another shape than its space has, or a number that is not finite."""


def described(error: BaseException) -> str:
    """An exception on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")


def raised(index: int, error: BaseException) -> EnvironmentFailedError:
    """What to raise where an environment has raised."""
    return EnvironmentFailedError(f"environment {index} raised {described(error)}")


def invalid_shape(index: int, shape: tuple[int, ...], expected: tuple[int, ...] | None) -> str:
    """What to say of an observation."""
    return f"environment {index} gave an observation of shape {shape}, its space has {expected}"


def invalid_observation(index: int) -> str:
    """What to say of an observation that its space cannot hold."""
    return f"environment {index} gave an observation that holds no numbers"


def invalid_reward(index: int, reward: object) -> str:
    """What to say of a reward that is no number."""
    return f"environment {index} gave a reward that is no number, but a {type(reward).__name__}"
