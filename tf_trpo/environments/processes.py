"""Gymnasium's asynchronous vector environment that says which environment failed, and never waits for ever."""

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
from tf_trpo.environments.failures import EnvironmentFailedError, described

_PATIENCE = 30.0
"""Seconds that environments may take to close, at most."""


class GuardedAsyncVectorEnv(AsyncVectorEnv):
    """An `AsyncVectorEnv` whose processes are watched.

    Args:
      makers: functions that make the environments, one for each process.
      timeout: seconds that a step or a reset of all environments may take, > 0.

    Raises:
      EnvironmentFailedError: from `step` and `reset`: an environment raised, took too long, or its process died; all
        processes have been ended.
    """

    def __init__(self, makers: Sequence[Callable[[], gym.Env]], *, timeout: float) -> None:
        if not timeout > 0:
            raise ValueError(f"the environments' timeout must be positive, got {timeout}")
        self._timeout = timeout
        self._failed = False
        in_processes = [functools.partial(_made, make, index, os.getpid()) for index, make in enumerate(makers)]
        # A rollout has copies of the observations.
        super().__init__(in_processes, copy=False)

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step as Gymnasium does."""
        return self._watched(lambda: self.step_async(actions), self.step_wait)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset as Gymnasium does; each action of a replay may take the time of a step."""
        steps = max((len(actions) for _, actions in (options or {}).get(REPLAY, ())), default=0)
        return self._watched(lambda: self.reset_async(seed, options), self.reset_wait, self._timeout * (1 + steps))

    def close_extras(self, timeout: float | None = None, terminate: bool = False) -> None:
        """Ask the environments to close, and end those that do not, or all if one has failed."""
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
        # Gymnasium's own waits for ever for an environment that is never made.
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
        """Raise what a process has raised; Gymnasium's own also warns, with a traceback for each."""
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
    """Make an environment in the process that steps it, or in the parent process, which looks at its spaces."""
    if os.getpid() == parent:
        return make()
    # A terminal sends Ctrl-C to all processes of a command, a scheduler SIGTERM: the training's process finishes its
    # iteration, and needs the environments until then.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        refuse_tensorflow()
        return make()
    except (Exception, SystemExit) as error:
        return _Unmade(f"environment {index} cannot be made: {described(error)}")


class _Unmade(gym.Env):
    """Stands for an environment that cannot be made, and raises the reason as soon as it is asked for anything."""

    observation_space = action_space = gym.spaces.Discrete(1)

    def __init__(self, message: str) -> None:
        self._message = message

    def get_wrapper_attr(self, name: str) -> Any:
        raise EnvironmentFailedError(self._message)


def refuse_tensorflow() -> None:
    """In a forked process, raise at TensorFlow's first operation if TensorFlow had begun to work before the fork.

    TensorFlow's threads are not in the forked process, so that an operation that needs them would wait for ever.
    """
    context = getattr(sys.modules.get("tensorflow.python.eager.context"), "_context", None)
    if getattr(context, "_context_handle", None) is None:
        return
    engine = sys.modules["tensorflow.python.pywrap_tfe"]

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError(
            "the environment uses TensorFlow, which cannot work in a process of the backend async, since it has begun "
            "to work in the process that made it: use the backend sync, or run the environment's model by LiteRT"
        )

    for name in ("TFE_Py_FastPathExecute", "TFE_Py_Execute"):
        setattr(engine, name, refuse)


def _environments(indices: Iterable[int]) -> str:
    numbers = [str(index) for index in indices]
    return f"environment {numbers[0]}" if len(numbers) == 1 else f"environments {', '.join(numbers)}"


def _lives(process: Any) -> bool:
    # A process whose pipe broke is about to be gone.
    process.join(0.2)
    return process.is_alive()
