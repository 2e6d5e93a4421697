"""The worker process, which steps the environments of a few shards, perhaps on another machine."""

from __future__ import annotations

import contextlib
import hashlib
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec

from tf_trpo.environments import EnvironmentFailedError, InvalidStepError, make_vector_environment
from tf_trpo.environments.failures import close_anyway
from tf_trpo.environments.probing import fingerprint
from tf_trpo.lazy import tensorflow as tf
from tf_trpo.rollouts.actor import LiteActor
from tf_trpo.rollouts.seeds import Stream, operation_seed
from tf_trpo.rollouts.source import LocalSource
from tf_trpo.versions import installed_versions

if TYPE_CHECKING:
    from tf_trpo.models import Policy
    from tf_trpo.optimizers.parts import PartComputer, Request

_PROBED_ROWS = 16
_PACKAGES = ("tensorflow", "keras", "numpy", "gymnasium", "ai-edge-litert")


class Setup(NamedTuple):
    """Everything that a worker needs to step any shard of a run.

    Attributes:
      environment: a Gymnasium id, or a function that makes an environment.
      registered: the id's specification in the process that learns, for workers that have not registered the id; None
        for a function.
      making: other arguments of `make_vector_environment`.
      num_envs: environments per shard.
      actor: the actor for one shard.
      seed, began_at: seed of all episodes, and the agent's iterations when the fit begins.
      probe: weights and noise of a short rollout, whose results on different machines are compared.
    """

    environment: str | Callable[[], gym.Env]
    registered: EnvSpec | None
    making: dict[str, Any]
    num_envs: int
    actor: LiteActor
    seed: int
    began_at: int
    probe: tuple[list[np.ndarray], np.ndarray]

    def source(self, shard: int) -> LocalSource:
        """Make the source of a shard; the errors are those of `make_vector_environment` and of a reset."""
        spec = self.registered
        if spec is not None:
            gym.registry.setdefault(spec.id, spec)
        environments = make_vector_environment(self.environment, self.num_envs, **self.making)
        try:
            first = shard * self.num_envs
            return LocalSource(environments, self.actor, seed=self.seed, first=first, began_at=self.began_at)
        except Exception:
            environments.close()
            raise

    def fingerprint(self) -> dict[str, str]:
        """Return the facts that must be equal on all machines: versions, and the SHA-256 of a short rollout."""
        source = self.source(0)
        try:
            found = self._probed(source)
        finally:
            source.close()
        # The package of a worker may be a copy that is not installed.
        own = sys.modules["tf_trpo"].__version__
        versions = {name: version or "none" for name, version in installed_versions(_PACKAGES).items()}
        return {**versions, "tf_trpo": own, "probe rollout": found}

    def repeats(self, fingerprint: Mapping[str, str]) -> bool:
        """Return whether environments repeat the rollout of a fingerprint, both when new and after they were played."""
        source = self.source(0)
        try:
            found = [self._probed(source)]
            source.begin(np.zeros(self.num_envs, np.int64))
            found.append(self._probed(source))
        except EnvironmentFailedError:
            return False
        finally:
            source.close()
        return {*found} == {fingerprint["probe rollout"]}

    def _probed(self, source: LocalSource) -> str:
        """Return the SHA-256 of a short rollout, or the error that ended it, which the training will handle."""
        try:
            rollout = source.collect(*self.probe)
        except (EnvironmentFailedError, InvalidStepError) as error:
            return f"{type(error).__name__}: {error}"
        return hashlib.sha256(fingerprint(rollout)).hexdigest()


def make_setup(
    policy: Policy,
    environment: str | Callable[[], gym.Env],
    making: dict[str, Any],
    *,
    num_envs: int,
    seed: int,
    began_at: int = 0,
) -> Setup:
    """Make the setup of workers for shards of `num_envs` environments.

    Raises:
      ValueError: LiteRT cannot run the policy.
    """
    try:
        actor = LiteActor(policy, num_envs)
    except (ValueError, RuntimeError, ImportError) as error:
        first = str(error).strip().splitlines()[0]
        raise ValueError(f"workers act by LiteRT, which cannot run this policy ({first}): use workers=0") from None
    weights = [weight.numpy() for weight in policy.weights]
    noise = policy.action_distribution.noise([_PROBED_ROWS, num_envs], operation_seed(seed, Stream.ACTIONS)).numpy()
    registered = gym.registry.get(environment) if isinstance(environment, str) else None
    return Setup(environment, registered, making, num_envs, actor, seed, began_at, (weights, noise))


class Call(NamedTuple):
    """Work to do with the environments of one shard.

    The answer is a function of the call, the shared weights and the episodes alone, so a call may be made twice, late,
    or to another worker.

    Attributes:
      shard: number of the shard.
      work: "begin" the episodes with given numbers, "collect" a rollout, "restart_some" environments, or only "find"
        the episodes.
      arguments: episode numbers int64 [b] and `began_at`, noise [T, b, ...], or the chosen environments, bool [b].
      at: digest of the state of the episodes to continue; None to begin.
    """

    shard: int
    work: Literal["begin", "collect", "restart_some", "find"]
    arguments: tuple[Any, ...] = ()
    at: bytes | None = None


class Answer(NamedTuple):
    """Answer to a call.

    Attributes:
      value: a rollout, or the present observations; None after an error.
      error: the error, if any.
      found: whether the worker has the episodes; a worker without them that gets no state does nothing.
      exact: whether the episodes continue; otherwise they could not be replayed, and others were begun before the work.
    """

    value: Any = None
    error: Exception | None = None
    found: bool = True
    exact: bool = True


class ShardWorker:
    """Steps the environments of the shards for which it gets calls, and computes parts of updates.

    Args:
      fetch: returns the value of a reference in a `Request`.
      ignore_ctrl_c: a terminal sends Ctrl-C to all processes of a command, but the training's process first ends its
        iteration, and needs the workers for that.
    """

    def __init__(
        self, fetch: Callable[[Any], Any] = lambda reference: reference, *, ignore_ctrl_c: bool = False
    ) -> None:
        if ignore_ctrl_c and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._fetch = fetch
        self._parts: PartComputer | None = None
        self._setup: Setup | None = None
        self._sources: dict[int, LocalSource] = {}
        self._at: dict[int, bytes] = {}
        """Digests of the episodes' states, for the shards whose environments are in these states."""

    def start(self, setup: Setup) -> dict[str, str]:
        """Prepare for calls, and return `Setup.fingerprint`."""
        self._setup = setup
        return setup.fingerprint()

    def play(
        self,
        call: Call,
        weights: Sequence[np.ndarray] | None = None,
        state: dict[str, Any] | None = None,
        *,
        begin: bool = False,
        kept: frozenset[int] = frozenset(),
    ) -> Answer:
        """Answer a call, after `start`.

        Args:
          call: the call.
          weights: of the policy, for the work "collect".
          state: state of the shard's episodes, for a replay if this worker does not have the episodes; None if the
            worker is expected to have them.
          begin: whether new episodes may begin if the replay fails.
          kept: shards whose environments stay open; those of other shards are closed.
        """
        assert self._setup is not None
        for shard in self._sources.keys() - kept - {call.shard}:
            self._at.pop(shard, None)
            self._sources.pop(shard).close()
        try:
            return self._played(self._setup, call, weights, state, begin)
        except (EnvironmentFailedError, InvalidStepError, ValueError, ImportError, gym.error.Error) as error:
            return Answer(error=error)

    def close(self) -> None:
        """Close all environments."""
        self._at.clear()
        while self._sources:
            close_anyway(self._sources.popitem()[1], "the environments of a shard")

    def compute(self, request: Request | None, threads: int) -> list[np.ndarray]:
        """Compute the results of a part of an update.

        Args:
          request: function and part to compute; None returns an empty list.
          threads: number of TensorFlow's threads; without effect if TensorFlow already runs in this process.
        """
        if request is None:
            return []
        if self._parts is None:
            from tf_trpo.optimizers.parts import PartComputer

            with contextlib.suppress(RuntimeError):
                tf.config.threading.set_intra_op_parallelism_threads(threads)
            self._parts = PartComputer(self._fetch)
        return self._parts.compute(request)

    def _played(
        self,
        setup: Setup,
        call: Call,
        weights: Sequence[np.ndarray] | None,
        state: dict[str, Any] | None,
        begin: bool,
    ) -> Answer:
        shard, exact = call.shard, True
        if call.at is not None and self._at.get(shard) != call.at:
            if state is None:
                return Answer(found=False)
            self._at.pop(shard, None)
            exact = self._source(setup, shard).restore(state)
            if not (exact or begin):
                return Answer(found=False, exact=False)
        begins = call.work == "begin" and shard not in self._sources and not np.any(call.arguments[0])
        source = self._source(setup, shard)
        # Until the work is done, the state of the environments is unknown.
        self._at.pop(shard, None)
        if call.work == "collect":
            assert weights is not None
            value: Any = source.collect(weights, *call.arguments)
        else:
            # New environments have begun already. A second reset would change state that outlives an episode.
            if call.work != "find" and not begins:
                getattr(source, call.work)(*call.arguments)
            value = source.episodes.observations
        self._at[shard] = source.episodes.digest()
        return Answer(value, exact=exact)

    def _source(self, setup: Setup, shard: int) -> LocalSource:
        if shard not in self._sources:
            self._sources[shard] = setup.source(shard)
        return self._sources[shard]
