"""Exceptions for environments that fail while they are stepped."""

from __future__ import annotations


class EnvironmentFailedError(RuntimeError):
    """An environment raised, hung or died, or returned a value that its spaces or Gymnasium's interface do not allow.

    The message names the environment. The failure would happen again, so there is no retry.

    Attributes:
      row: row of the rollout in which the failure happened; None if it happened outside of a rollout.
    """

    row: int | None = None


class InvalidStepError(ValueError):
    """An environment returned a number that is not finite; another episode may be fine.

    Attributes:
      row: row of the rollout in which this happened, -1 for the observation before the first row; None if it happened
        outside of a rollout.
    """

    row: int | None = None


def described(error: BaseException) -> str:
    """Describe an exception on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")


def reason(error: BaseException) -> str:
    """Return the message of an environment's failure or invalid step, or describe any other exception."""
    known = isinstance(error, EnvironmentFailedError | InvalidStepError)
    return str(error) if known else f"the environments raised {described(error)}"
