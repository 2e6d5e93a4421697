"""An environment that is stepped and rendered in a process of its own, which never imports TensorFlow.

Renderers that compile by LLVM, as Mesa's do on a machine without a GPU, can crash in a process that has TensorFlow. A
renderer that crashes in a process of its own ends nothing but that process.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from tf_trpo.environments.failures import EnvironmentFailedError, described
from tf_trpo.environments.vector import open_vector_environment

_PATIENCE = 300.0
"""Seconds that the process may take for an answer."""
_CLOSING = 5.0
"""Seconds that it may take to close the environment."""
_HINT = (
    'classic control and toy text need pip install "tf_trpo[play]", MuJoCo a display, MUJOCO_GL=egl or MUJOCO_GL=osmesa'
)


class RenderedEnvironment:
    """The vector environment of one copy in another process; `open_rendered_environment` makes it.

    Attributes:
      single_observation_space, single_action_space, metadata: those of the vector environment.
    """

    single_observation_space: gym.Space
    single_action_space: gym.Space
    metadata: dict[str, Any]

    def __init__(self, pipe: Connection, process: subprocess.Popen[bytes], name: str) -> None:
        self._pipe = pipe
        self._process = process
        self._name = name

    def reset(self, *, seed: int | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset as `make_vector_environment`'s environments do."""
        return self.call("reset", seed=seed)

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step as `make_vector_environment`'s environments do."""
        return self.call("step", actions)

    def render(self) -> NDArray[np.uint8]:
        """Give a frame [height, width, 3].

        Raises:
          ValueError: the environment cannot be filmed; the message says why.
        """
        try:
            frames = self.call("render")
        except Exception as error:  # Each renderer has errors of its own.
            reason = str(error) if isinstance(error, EnvironmentFailedError) else described(error)
            raise ValueError(f"{self._name} cannot be filmed: {reason} ({_HINT})") from None
        if not frames or frames[0] is None:
            raise ValueError(f"{self._name} cannot be filmed: it has no render mode rgb_array")
        return np.asarray(frames[0], np.uint8)

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the vector environment, raise what it raises."""
        return self.answer(cloudpickle.dumps((method, args, kwargs)))

    def answer(self, asked: bytes) -> Any:
        """Give what the process answers, raise what it raises.

        Raises:
          EnvironmentFailedError: the process has died, or does not answer.
        """
        try:
            self._pipe.send_bytes(asked)
            if not self._pipe.poll(_PATIENCE):
                raise EnvironmentFailedError(f"its process did not answer within {_PATIENCE:g} seconds")
            raised, result = cloudpickle.loads(self._pipe.recv_bytes())
        except (EOFError, OSError):
            raise EnvironmentFailedError(f"its process died ({_ending(self._process.wait())})") from None
        if raised:
            raise result
        return result


@contextlib.contextmanager
def open_rendered_environment(environment: str | Callable[[], gym.Env], **making: Any) -> Iterator[RenderedEnvironment]:
    """Open one environment in a process of its own; the process ends with the context.

    Args:
      environment: a Gymnasium id, for which the render mode rgb_array is asked, or a function that makes an environment
        with that mode.
      **making: env_kwargs, wrappers, action_masks: as for `make_vector_environment`.

    Raises:
      As `make_vector_environment`.
      ValueError: the environment cannot be filmed, or the function cannot be sent to another process.
      EnvironmentFailedError: the process died.
    """
    name = environment if isinstance(environment, str) else getattr(environment, "__qualname__", repr(environment))
    if isinstance(environment, str):
        making["env_kwargs"] = {**(making.get("env_kwargs") or {}), "render_mode": "rgb_array"}
    # An id that was registered in this process is unknown in another one.
    spec = gym.registry.get(environment) if isinstance(environment, str) else None
    try:
        asked = cloudpickle.dumps((spec, environment, making))
    except Exception as error:  # Whatever the objects raise that cannot be pickled.
        raise ValueError(
            f"{name} cannot be sent to the process that renders ({described(error)}): give an environment id"
        ) from None
    ours, process = _started()
    try:
        rendered = RenderedEnvironment(ours, process, name)
        vars(rendered).update(rendered.answer(asked))
        yield rendered
    finally:
        # The process ends when its pipe is closed; one that hangs is killed.
        ours.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_CLOSING)
        process.kill()
        process.wait()


def _started() -> tuple[Connection, subprocess.Popen[bytes]]:
    """Start the process and give the pipe to it.

    It is none of multiprocessing, which would import the main program again, and TensorFlow with it.
    """
    ours, theirs = multiprocessing.Pipe()
    program = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import serve; serve({theirs.fileno()})"
    with theirs:
        process = subprocess.Popen(
            # Renderers warn before they fail.
            [sys.executable, "-W", "ignore", "-c", program],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            # Frames are drawn in memory, but pygame would look for a screen.
            env={"SDL_VIDEODRIVER": "dummy", **os.environ},
        )
    return ours, process


def serve(descriptor: int) -> None:
    """Answer calls until the pipe is closed; the main function of the process."""
    # A terminal sends Ctrl-C to both processes; the other one decides.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    pipe = Connection(descriptor)
    names = ("single_observation_space", "single_action_space", "metadata")
    environments: Any = None
    with contextlib.suppress(EOFError, OSError), contextlib.ExitStack() as stack:
        while True:
            message = pipe.recv_bytes()
            try:
                asked = cloudpickle.loads(message)
                if environments is None:
                    spec, environment, making = asked
                    if spec is not None:
                        gym.registry[spec.id] = spec
                    environments = stack.enter_context(open_vector_environment(environment, 1, **making))
                    result: Any = {name: getattr(environments, name) for name in names}
                else:
                    method, args, kwargs = asked
                    result = getattr(environments, method)(*args, **kwargs)
                answer = cloudpickle.dumps((False, result))
            except (Exception, SystemExit) as error:  # The other process raises it.
                answer = _raised(error)
            pipe.send_bytes(answer)


def _raised(error: BaseException) -> bytes:
    """Pickle an exception, or its description if it cannot be pickled, or would not come out as it was."""
    with contextlib.suppress(Exception):  # Whatever pickling raises.
        answer = cloudpickle.dumps((True, error))
        if type(cloudpickle.loads(answer)[1]) is type(error) and isinstance(error, Exception):
            return answer
    return cloudpickle.dumps((True, EnvironmentFailedError(described(error))))


def _ending(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit code {code}"
