"""Workers as Ray actors; the only module that imports Ray."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import threading
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from tf_trpo.environments.failures import WorkersLostError
from tf_trpo.extras import not_installed
from tf_trpo.optimizers.parts import Request
from tf_trpo.quiet import errors_only
from tf_trpo.workers.crew import WorkerLostError
from tf_trpo.workers.worker import Call, Setup, ShardWorker

_OBJECT_STORE = 256 * 2**20
"""Bytes of shared memory for rollouts in transit; Ray spills the rest to disk."""
_PATIENCE = 20.0
"""Seconds within which the head of a cluster must answer."""
_CLOSING = 5.0
"""Seconds within which workers must have closed their environments, before they are killed."""
_ENVIRONMENT = {
    # One thread: there is a worker for each core.
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"), "1"),
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    # Ray does not hide a machine's GPUs from workers that ask for none.
    "CUDA_VISIBLE_DEVICES": "",
}
_SERVERS = ("gcs_server", "raylet")
"""Names of Ray's processes without which it does not work."""
_AUTHENTICATION = "RAY_AUTH_MODE"
_PRIVATE = {
    # Ray would end workers on a machine that is nearly out of memory, whoever uses the memory.
    "RAY_memory_monitor_refresh_ms": "0",
    # The workers' own priority would be so low that another busy program gets nearly all of a core they share.
    "RAY_worker_niceness": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}


class RayCrew:
    """A `Crew` of Ray actors, each with one core.

    Args:
      setup: what the workers need.
      size: number of workers.
      address: address of a Ray cluster, as for `ray.init`. None: the Ray that this process has already initialised,
        or else a private Ray on this machine, which ends with this object or with this process.

    Attributes:
      size: as given.
      starts: by worker, how many processes it has had so far.

    Raises:
      ImportError: Ray is not installed.
      ValueError: Ray is initialised already and an address is given, or the environment's function cannot be pickled.
      ConnectionError: no cluster answers.
    """

    def __init__(self, setup: Setup, size: int, address: str | None = None) -> None:
        self._ray = ray = import_ray()
        self.size, self.starts = size, Counter[int]()
        self._owned, self._servers = not ray.is_initialized(), list[Any]()
        if not self._owned and address is not None:
            raise ValueError("Ray is initialised in this process already: leave its address out")
        # Ray sets this variable in this process, where it would outlive the cluster.
        self._had_mode = _AUTHENTICATION in os.environ
        try:
            if self._owned:
                _connect(ray, size, address)
                children = import_psutil().Process().children() if address is None else ()
                self._servers = [each for each in children if each.name() in _SERVERS]
            # If Ray restarted workers itself, nobody would notice one that dies whenever it starts.
            options = {"num_cpus": 1, "max_restarts": 0, "runtime_env": {"env_vars": _ENVIRONMENT}}
            self._kind = ray.remote(ShardWorker).options(**options)
            self._actors: dict[int, Any] = {}
            try:
                self._setup = ray.put(setup)
            except (TypeError, pickle.PicklingError) as error:
                raise ValueError(f"the environment cannot be sent to workers: {' '.join(str(error).split())}") from None
        except BaseException:
            self._disconnect()
            raise

    def share(self, value: Any) -> Any:
        """Put a value, such as the policy's weights, into Ray's object store, for all workers."""
        return self._living().put(value)

    def fetch(self, reference: Any) -> Any:
        """Return the value of a reference."""
        return self._living().get(reference)

    def start(self, worker: int) -> Hashable:
        # A worker also counts as lost if its machine cannot be reached, and then its process may still run.
        self.dismiss(worker)
        self.starts[worker] += 1
        self._actors[worker] = self._kind.remote(self._ray.get, ignore_ctrl_c=True)
        return self._actors[worker].start.remote(self._setup)

    def dismiss(self, worker: int) -> None:
        if worker in self._actors:
            self._ray.kill(self._actors[worker])

    def call(self, worker: int, call: Call, shared: Any, **options: Any) -> Hashable:
        self._living()
        return self._actors[worker].play.remote(call, shared, **options)

    def compute(self, worker: int, request: Request | None, threads: int) -> Hashable:
        self._living()
        return self._actors[worker].compute.remote(request, threads)

    def wait(self, pending: Iterable[Hashable], timeout: float) -> list[Hashable]:
        ray = self._living()
        first, others = ray.wait(list(pending), num_returns=1, timeout=timeout)
        return first + ray.wait(others, num_returns=len(others), timeout=0)[0] if first and others else first

    def result(self, ended: Hashable) -> Any:
        ray = self._living()
        failures = ray.exceptions
        try:
            return ray.get(ended)
        except failures.RayTaskError as error:
            if isinstance(error.cause, failures.RayError):
                # The worker cannot fetch an argument of the call.
                raise WorkerLostError(type(error.cause).__name__) from None
            raise error.cause from None
        except failures.RayActorError as error:
            if error.actor_init_failed:
                raise ValueError(f"a worker cannot start: {str(error).strip().splitlines()[-1]}") from None
            raise WorkerLostError(type(error).__name__) from None
        except (
            failures.ObjectLostError,
            failures.WorkerCrashedError,
            failures.OutOfMemoryError,
            failures.NodeDiedError,
        ) as error:
            raise WorkerLostError(type(error).__name__) from None

    def close(self) -> None:
        """Let idle workers close their environments, and end all workers, and Ray if this object started it."""
        if self._has_ended():
            self._disconnect()
            return
        try:
            closing = [actor.close.remote() for actor in self._actors.values()]
            if closing:
                self._ray.wait(closing, num_returns=len(closing), timeout=_CLOSING)
            for worker in self._actors:
                self.dismiss(worker)
        finally:
            self._disconnect()

    def _living(self) -> Any:
        """Return Ray; raise WorkersLostError if its processes have ended.

        Otherwise Ray would end this process, too, when it finds that its object store is gone.
        """
        if self._has_ended():
            raise WorkersLostError(
                "the Ray that this process started has ended, perhaps by a signal to all processes of the command"
            )
        return self._ray

    def _has_ended(self) -> bool:
        try:
            return any(not each.is_running() or each.status() == "zombie" for each in self._servers)
        except import_psutil().NoSuchProcess:
            return True

    def _disconnect(self) -> None:
        if self._owned:
            with _handlers_kept():
                self._ray.shutdown()
            if not self._had_mode:
                os.environ.pop(_AUTHENTICATION, None)


def import_ray() -> Any:
    """Import Ray; if it is not installed, raise an ImportError that says how to install it."""
    try:
        import ray
    except ImportError as error:
        raise not_installed("ray") from error
    return ray


def import_psutil() -> Any:
    """Import psutil; if it is not installed, raise an ImportError that says how to install it."""
    try:
        import psutil  # type: ignore[import-untyped]
    except ImportError as error:
        raise not_installed("psutil") from error
    return psutil


def _connect(ray: Any, size: int, address: str | None) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
    with _handlers_kept(), errors_only("ray"), _variables(_PRIVATE if address is None else {}):
        if address is not None:
            try:
                host, _, port = address.rpartition(":")
                if port.isdecimal():
                    # Ray itself would try for minutes.
                    socket.create_connection((host, int(port)), timeout=_PATIENCE).close()
                ray.init(address=address, **quiet)
            except (OSError, OverflowError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
                reason = " ".join(str(error).split()) or type(error).__name__
                raise ConnectionError(f"no Ray cluster answers at {address}: {reason}") from None
            return
        # This Ray listens on all addresses of the machine, and requires a token that it generates itself.
        ray.init(
            address="local",
            num_cpus=size,
            num_gpus=0,
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE,
            **quiet,
        )


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Restore this process's SIGTERM handler at the end, because Ray replaces it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _variables(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables for processes started in this context, unless the user has set them."""
    missing = values.keys() - os.environ.keys()
    os.environ.update({name: values[name] for name in missing})
    try:
        yield
    finally:
        for name in missing:
            del os.environ[name]
