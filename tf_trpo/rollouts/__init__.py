"""Collecting experience: from vector environments to rollouts and episodes."""

from tf_trpo.rollouts.actor import Actor, CompiledActor, LiteActor, make_actor
from tf_trpo.rollouts.collector import Collector
from tf_trpo.rollouts.episodes import Episode, EpisodeTracker
from tf_trpo.rollouts.rollout import Rollout
from tf_trpo.rollouts.seeds import Stream, environment_seeds, numpy_generator, operation_seed

__all__ = [
    "Actor",
    "Collector",
    "CompiledActor",
    "Episode",
    "EpisodeTracker",
    "LiteActor",
    "Rollout",
    "Stream",
    "environment_seeds",
    "make_actor",
    "numpy_generator",
    "operation_seed",
]
