"""Keras models: policies that return distributions, value functions, networks, running statistics."""

from tf_trpo.models.categorical import CategoricalPolicy
from tf_trpo.models.gaussian import GaussianPolicy
from tf_trpo.models.mirror_symmetry import MirrorSymmetry, Reflection
from tf_trpo.models.networks import mlp
from tf_trpo.models.normalization import RunningNormalization, RunningReturnScale
from tf_trpo.models.policy import Policy
from tf_trpo.models.policy_average import PolicyAverage
from tf_trpo.models.value_function import ValueFunction

__all__ = [
    "CategoricalPolicy",
    "GaussianPolicy",
    "MirrorSymmetry",
    "Policy",
    "PolicyAverage",
    "Reflection",
    "RunningNormalization",
    "RunningReturnScale",
    "ValueFunction",
    "mlp",
]
