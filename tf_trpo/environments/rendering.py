"""An environment that is stepped and rendered in a separate process, which never imports TensorFlow.

Renderers that compile by LLVM, such as Mesa's on a machine without a GPU, can crash in a process that has loaded
TensorFlow. If a renderer crashes in a process of its own, only that process ends.
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

from tf_trpo.environments.failures import EnvironmentFailedError, UnfitArgumentsError, described
from tf_trpo.environments.vector import open_vector_environment
from tf_trpo.extras import installation

_PATIENCE = 300.0
"""Seconds that the process may take to answer."""
_CLOSING = 5.0
"""Seconds that the process may take to close the environment."""
_HINT = (
    f"classic control and toy text need {installation('play')}; MuJoCo needs a display, MUJOCO_GL=egl or "
    "MUJOCO_GL=osmesa"
)


class RenderedEnvironment:
    """A vector environment of one environment in another process; made by `open_rendered_environment`.

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

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset the environment, as `VectorEnv.reset` does."""
        return self.call("reset", seed=seed, options=options)

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step the environment, as `VectorEnv.step` does."""
        return self.call("step", actions)

    def render(self) -> NDArray[np.uint8]:
        """Render a frame [height, width, 3].

        Raises:
          ValueError: the environment cannot be rendered; the message says why.
        """
        try:
            frames = self.call("render")
        except Exception as error:  # Each renderer raises its own errors.
            reason = str(error) if isinstance(error, EnvironmentFailedError) else described(error)
            raise ValueError(f"{self._name} cannot be filmed: {reason} ({_HINT})") from None
        if not frames or frames[0] is None:
            raise ValueError(f"{self._name} cannot be filmed: it has no render mode rgb_array")
        return np.asarray(frames[0], np.uint8)

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the vector environment and return its result, or raise its exception."""
        return self.answer(cloudpickle.dumps((method, args, kwargs)))

    def answer(self, asked: bytes) -> Any:
        """Send a pickled request to the process and return its answer, or raise its exception.

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


def check_rendering(environment: str | Callable[[], gym.Env], *, seed: int = 0, **making: Any) -> None:
    """Raise as `open_rendered_environment` unless an environment, made with its arguments, can be rendered."""
    with open_rendered_environment(environment, **making) as rendered:
        rendered.reset(seed=seed)
        rendered.render()


@contextlib.contextmanager
def open_rendered_environment(environment: str | Callable[[], gym.Env], **making: Any) -> Iterator[RenderedEnvironment]:
    """Open one environment in a separate process, which ends with the context.

    Args:
      environment: a Gymnasium id or the name "module:Class" of a class or function, which is given the argument
        render_mode="rgb_array", or a function that makes an environment with that render mode.
      **making: env_kwargs, wrappers, action_masks: as for `make_vector_environment`.

    Raises:
      As `make_vector_environment`.
      ValueError: the environment cannot be rendered, its constructor does not take the argument render_mode, or the
        function cannot be pickled.
      EnvironmentFailedError: the process died.
    """
    name = environment if isinstance(environment, str) else getattr(environment, "__qualname__", repr(environment))
    if isinstance(environment, str):
        making["env_kwargs"] = {**(making.get("env_kwargs") or {}), "render_mode": "rgb_array"}
    # An id that was registered in this process is unknown in the other one, so its spec is sent.
    spec = gym.registry.get(environment) if isinstance(environment, str) else None
    try:
        asked = cloudpickle.dumps((spec, environment, making))
    except Exception as error:  # Objects that cannot be pickled raise exceptions of any class.
        raise ValueError(
            f"{name} cannot be sent to the process that renders ({described(error)}): give an environment id"
        ) from None
    ours, process = _started()
    try:
        rendered = RenderedEnvironment(ours, process, name)
        try:
            vars(rendered).update(rendered.answer(asked))
        except UnfitArgumentsError as error:
            given = "render_mode='rgb_array'"
            raise ValueError(f"a film gives the environment's constructor the argument {given}, and {error}") from None
        yield rendered
    finally:
        # The process ends when its pipe is closed. If it hangs, it is killed.
        ours.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_CLOSING)
        process.kill()
        process.wait()


def _started() -> tuple[Connection, subprocess.Popen[bytes]]:
    """Start the process; return the pipe to it, and the process.

    multiprocessing is not used, since it would import the main program again, and TensorFlow with it.
    """
    ours, theirs = multiprocessing.Pipe()
    program = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import serve; serve({theirs.fileno()})"
    with theirs:
        process = subprocess.Popen(
            # Renderers warn before they fail.
            [sys.executable, "-W", "ignore", "-c", program],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            # Frames are drawn in memory; without the dummy driver pygame would look for a screen.
            env={"SDL_VIDEODRIVER": "dummy", **os.environ},
        )
    return ours, process


def serve(descriptor: int) -> None:
    """Answer calls until the pipe is closed; this is the main function of the process."""
    # A terminal sends Ctrl-C to both processes. The parent decides when this one ends, by closing the pipe.
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
            except (Exception, SystemExit) as error:  # The parent process raises it.
                answer = _raised(error)
            pipe.send_bytes(answer)


def _raised(error: BaseException) -> bytes:
    """Pickle an exception, or its description if the exception does not survive pickling."""
    with contextlib.suppress(Exception):  # Pickling may raise anything.
        answer = cloudpickle.dumps((True, error))
        if type(cloudpickle.loads(answer)[1]) is type(error) and isinstance(error, Exception):
            return answer
    return cloudpickle.dumps((True, EnvironmentFailedError(described(error))))


def _ending(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit code {code}"
