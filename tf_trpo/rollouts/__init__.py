"""Collecting experience: from vector environments to rollouts and episodes."""

from typing import TYPE_CHECKING

from tf_trpo.lazy import exports

if TYPE_CHECKING:
    from tf_trpo.rollouts.actor import Actor as Actor
    from tf_trpo.rollouts.actor import CompiledActor as CompiledActor
    from tf_trpo.rollouts.actor import LiteActor as LiteActor
    from tf_trpo.rollouts.actor import make_actor as make_actor
    from tf_trpo.rollouts.episodes import Episode as Episode
    from tf_trpo.rollouts.episodes import EpisodeTracker as EpisodeTracker
    from tf_trpo.rollouts.episodes import mean_costs as mean_costs
    from tf_trpo.rollouts.episodes import mean_infos as mean_infos
    from tf_trpo.rollouts.seeds import Stream as Stream
    from tf_trpo.rollouts.seeds import environment_seeds as environment_seeds
    from tf_trpo.rollouts.seeds import numpy_generator as numpy_generator
    from tf_trpo.rollouts.seeds import operation_seed as operation_seed
    from tf_trpo.rollouts.shards import Spread as Spread
    from tf_trpo.rollouts.shards import default_shards as default_shards
    from tf_trpo.rollouts.source import LocalSource as LocalSource
    from tf_trpo.rollouts.source import RolloutSource as RolloutSource
    from tf_trpo.rollouts.stepping import Remembered as Remembered
    from tf_trpo.rollouts.stepping import Rollout as Rollout
    from tf_trpo.rollouts.vine import VineSettings as VineSettings
else:
    __getattr__, __dir__, __all__ = exports(__name__, __file__)
