"""What can be wrong with an environment while it is stepped."""

from __future__ import annotations


class EnvironmentFailedError(RuntimeError):
    """An environment raised, hung or died, or gave what its spaces or Gymnasium's interface do not allow.

    The message names the environment. The same would come again, so nothing is tried again.

    Attributes:
      row: of the rollout in which it happened; None if it happened elsewhere.
    """

    row: int | None = None


class InvalidStepError(ValueError):
    """An environment gave a number that is not finite; another episode may be fine.

    Attributes:
      row: of the rollout in which it happened, -1 for where the rollout began; None if it happened elsewhere.
    """

    row: int | None = None


def described(error: BaseException) -> str:
    """Describe an exception on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")


def reason(error: BaseException) -> str:
    """Give the words of an environment's failure or invalid step, or describe what else the environments raised."""
    known = isinstance(error, EnvironmentFailedError | InvalidStepError)
    return str(error) if known else f"the environments raised {described(error)}"
