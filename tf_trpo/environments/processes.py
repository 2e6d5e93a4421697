"""Gymnasium's asynchronous vector environment with time limits and with messages that name the environment."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AsyncVectorEnv
from gymnasium.vector.async_vector_env import AsyncState

from tf_trpo.environments.episodes import REPLAY
from tf_trpo.environments.failures import EnvironmentFailedError, cause, described

_LONGEST = 1e6
"""Longest time limit in seconds, almost twelve days; Python's clocks take no numbers of any size."""
_PATIENCE = 30.0
"""Maximum number of seconds that environments may take to close."""


class GuardedAsyncVectorEnv(AsyncVectorEnv):
    """An `AsyncVectorEnv` that detects processes that raise, hang or die.

    Args:
      makers: functions that make the environments, one for each process.
      timeout: seconds that a step or a reset of all environments may take, > 0.

    Raises:
      EnvironmentFailedError: from `step` and `reset`: an environment raised or took too long, or its process died. All
        processes have been killed.
    """

    def __init__(self, makers: Sequence[Callable[[], gym.Env]], *, timeout: float) -> None:
        if not timeout > 0:
            raise ValueError(f"the environments' timeout must be positive, got {timeout}")
        self._timeout = min(timeout, _LONGEST)
        self._failed = False
        in_processes = [functools.partial(_made, make, index, os.getpid()) for index, make in enumerate(makers)]
        # No copies: a rollout copies the observations itself.
        super().__init__(in_processes, copy=False)

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step as Gymnasium does."""
        return self._watched(lambda: self.step_async(actions), self.step_wait)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset as Gymnasium does; the time limit of a replay grows by `timeout` for each action."""
        steps = max((len(actions) for _, actions in (options or {}).get(REPLAY, ())), default=0)
        return self._watched(lambda: self.reset_async(seed, options), self.reset_wait, self._timeout * (1 + steps))

    def close_extras(self, timeout: float | None = None, terminate: bool = False) -> None:
        """Ask the environments to close, and kill those that do not; if one has failed, kill all at once."""
        if not (terminate or self._failed or self._state != AsyncState.DEFAULT):
            with contextlib.suppress(OSError):
                for pipe in self.parent_pipes:
                    pipe.send(("close", None))
            deadline = time.monotonic() + min(self._timeout, _PATIENCE)
            for process in self.processes:
                process.join(max(0.0, deadline - time.monotonic()))
        self._end()
        for process, pipe in zip(self.processes, self.parent_pipes, strict=True):
            process.join()
            pipe.close()

    def _check_spaces(self) -> None:
        # Gymnasium's own method has no time limit, and would hang if an environment's constructor hangs.
        self._watched(lambda: self.call_async("spec"), lambda timeout: (*self.call_wait(timeout), {}))
        super()._check_spaces()

    def _watched(self, send: Callable[[], None], wait: Callable[[float], Any], timeout: float | None = None) -> Any:
        timeout = timeout or self._timeout
        try:
            send()
            result = wait(timeout)
        except multiprocessing.TimeoutError:
            late = [index for index, pipe in enumerate(self.parent_pipes) if not pipe.poll(0)]
            failure = f"{_environments(late)} took more than {timeout:g} seconds"
        except (EOFError, OSError):
            dead = [process for process in self.processes if not _lives(process)]
            codes = ", ".join(str(process.exitcode) for process in dead)
            failure = f"{_environments(self.processes.index(process) for process in dead)} died (exit code {codes})"
        else:
            return result
        self._end()
        raise EnvironmentFailedError(failure)

    def _raise_if_errors(self, successes: Iterable[bool]) -> None:
        """Raise the exception of a process, without the warnings and tracebacks that Gymnasium's own method adds."""
        if not all(successes):
            index, kind, message, _ = self.error_queue.get(timeout=self._timeout)
            self._end()
            if kind is not EnvironmentFailedError:
                message = f"environment {index} raised {kind.__name__}: {message}"
            raise EnvironmentFailedError(str(message))

    def _end(self) -> None:
        self._failed = True
        self._state = AsyncState.DEFAULT
        for process in self.processes:
            process.kill()


def _made(make: Callable[[], gym.Env], index: int, parent: int) -> gym.Env:
    """Make an environment in the process that steps it, or in the parent process, which reads its spaces."""
    if os.getpid() == parent:
        return make()
    # A terminal sends SIGINT, and a scheduler SIGTERM, to all processes of a command. The training process then
    # finishes its iteration, and needs the environments until the end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        refuse_tensorflow()
        return make()
    except (Exception, SystemExit) as error:
        return _Unmade(f"environment {index} cannot be made: {described(cause(error))}")


class _Unmade(gym.Env):
    """Stands for an environment that could not be made, and raises the reason when asked for an attribute."""

    observation_space = action_space = gym.spaces.Discrete(1)

    def __init__(self, message: str) -> None:
        self._message = message

    def get_wrapper_attr(self, name: str) -> Any:
        raise EnvironmentFailedError(self._message)


def refuse_tensorflow() -> None:
    """In a forked process, make TensorFlow's operations raise if TensorFlow was initialised before the fork.

    TensorFlow's threads do not exist in the forked process, so an operation that needs them would hang.
    """
    context = getattr(sys.modules.get("tensorflow.python.eager.context"), "_context", None)
    if getattr(context, "_context_handle", None) is None:
        return
    engine = sys.modules["tensorflow.python.pywrap_tfe"]

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError(
            "the environment uses TensorFlow, which cannot work in a process of the backend async, because the process "
            "that started it has used TensorFlow: use the backend sync, or run the environment's model by LiteRT"
        )

    for name in ("TFE_Py_FastPathExecute", "TFE_Py_Execute"):
        setattr(engine, name, refuse)


def _environments(indices: Iterable[int]) -> str:
    numbers = [str(index) for index in indices]
    return f"environment {numbers[0]}" if len(numbers) == 1 else f"environments {', '.join(numbers)}"


def _lives(process: Any) -> bool:
    # A process whose pipe broke may still be about to exit.
    process.join(0.2)
    return process.is_alive()
