"""Exceptions for environments that fail while they are stepped."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import gymnasium as gym

_logger = logging.getLogger(__name__)


class EnvironmentFailedError(RuntimeError):
    """An environment raised, hung or died, or returned a value that its spaces or Gymnasium's interface do not allow.

    The message names the environment. The failure would happen again, so there is no retry.

    Attributes:
      row: row of the rollout in which the failure happened; None if it happened outside of a rollout.
    """

    row: int | None = None


class WorkersLostError(EnvironmentFailedError):
    """No worker is left to step the environments, which are not to blame: their episodes can be replayed."""


class UnfitSpaceError(ValueError):
    """A wrapper of this package does not fit the spaces of an environment."""


class UnfitArgumentsError(ValueError):
    """An environment cannot be made with the arguments that it is given."""


class NoSpaceError(ValueError):
    """An environment has no observation space or no action space."""


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


def close_anyway(environment: Any, name: str = "the environment") -> None:
    """Close an environment whose work is done, or failed: if it raises now, that is a warning, and hides no error."""
    try:
        environment.close()
    except (Exception, SystemExit) as error:
        _logger.warning("%s raised %s when it was closed", name, described(error))


@contextmanager
def making(
    name: str = "the environment",
    env_kwargs: Mapping[str, Any] | None = None,
    *,
    unchanged: type[Exception] = UnfitSpaceError,
) -> Iterator[None]:
    """Turn what the code of an environment or a wrapper raises when it is made into an `EnvironmentFailedError`.

    A missing module and Gymnasium's own errors stay as they are.

    Args:
      name: name of the environment or the wrapper, for the message.
      env_kwargs: its arguments. If there are some, a TypeError becomes an `UnfitArgumentsError` that names them.
      unchanged: class of this package's refusals, which stay as they are, too.
    """
    try:
        yield
    except (ImportError, gym.error.Error, EnvironmentFailedError, unchanged):
        raise
    except (Exception, SystemExit) as error:
        if env_kwargs and isinstance(error, TypeError):
            raise UnfitArgumentsError(f"{name} cannot be made with the env_kwargs {env_kwargs}: {error}") from error
        raise EnvironmentFailedError(f"{name} cannot be made: {described(error)}") from error


@contextmanager
def importing(what: str) -> Iterator[None]:
    """Turn what an import of `what`, such as "the wrapper a:B", raises into a ValueError."""
    try:
        yield
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{what} cannot be imported: {error}") from error
    except (Exception, SystemExit) as error:
        raise ValueError(f"{what} cannot be imported: {described(error)}") from error


def cause(error: BaseException) -> BaseException:
    """Return what made an environment fail, which may be the error itself."""
    return error.__cause__ or error if isinstance(error, EnvironmentFailedError) else error


def reason(error: BaseException) -> str:
    """Return the message of an environment's failure or invalid step, or describe any other exception."""
    known = isinstance(error, EnvironmentFailedError | InvalidStepError)
    return str(error) if known else f"the environments raised {described(error)}"
