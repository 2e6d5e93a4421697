"""Collecting experience: from vector environments to rollouts and episodes."""

from tf_trpo.rollouts.actor import Actor, CompiledActor, LiteActor, make_actor
from tf_trpo.rollouts.episodes import Episode, EpisodeTracker
from tf_trpo.rollouts.seeds import Stream, environment_seeds, numpy_generator, operation_seed
from tf_trpo.rollouts.source import LocalSource, RolloutSource
from tf_trpo.rollouts.stepping import Rollout

__all__ = [
    "Actor",
    "CompiledActor",
    "Episode",
    "EpisodeTracker",
    "LiteActor",
    "LocalSource",
    "Rollout",
    "RolloutSource",
    "Stream",
    "environment_seeds",
    "make_actor",
    "numpy_generator",
    "operation_seed",
]
