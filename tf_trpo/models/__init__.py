"""Keras models: encoders, policies, value functions, networks, running statistics, and functions that make them."""

from typing import TYPE_CHECKING

from tf_trpo.lazy import exports

if TYPE_CHECKING:
    from tf_trpo.models.encoder import Encoder as Encoder
    from tf_trpo.models.making import make_policy as make_policy
    from tf_trpo.models.making import make_value_function as make_value_function
    from tf_trpo.models.mirror_symmetry import MirroredEncoder as MirroredEncoder
    from tf_trpo.models.mirror_symmetry import MirrorSymmetry as MirrorSymmetry
    from tf_trpo.models.networks import mlp as mlp
    from tf_trpo.models.normalization import RunningNormalization as RunningNormalization
    from tf_trpo.models.normalization import RunningReturnScale as RunningReturnScale
    from tf_trpo.models.policy import Policy as Policy
    from tf_trpo.models.settings import PolicySettings as PolicySettings
    from tf_trpo.models.settings import ValueSettings as ValueSettings
    from tf_trpo.models.value_function import ValueFunction as ValueFunction
else:
    __getattr__, __dir__, __all__ = exports(__name__, __file__)
