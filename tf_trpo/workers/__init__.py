"""Workers: processes, of this machine or of others, that collect rollouts and compute parts of an update."""

from typing import TYPE_CHECKING

from tf_trpo.lazy import exports

if TYPE_CHECKING:
    from tf_trpo.workers.part_workers import PartWorkers as PartWorkers
    from tf_trpo.workers.ray_source import RaySource as RaySource
else:
    __getattr__, __dir__, __all__ = exports(__name__, __file__)
