"""Keras models: encoders, the policy, the value function, networks, running statistics; and how they are made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tf_trpo.lazy import exports

if TYPE_CHECKING:
    from tf_trpo.models.encoder import Encoder
    from tf_trpo.models.making import check_fit, make_policy, make_value_function
    from tf_trpo.models.mirror_symmetry import MirroredEncoder, MirrorSymmetry
    from tf_trpo.models.networks import mlp
    from tf_trpo.models.normalization import RunningNormalization, RunningReturnScale
    from tf_trpo.models.policy import Policy
    from tf_trpo.models.settings import PolicySettings, ValueSettings
    from tf_trpo.models.value_function import ValueFunction

__all__ = [
    "Encoder",
    "MirrorSymmetry",
    "MirroredEncoder",
    "Policy",
    "PolicySettings",
    "RunningNormalization",
    "RunningReturnScale",
    "ValueFunction",
    "ValueSettings",
    "check_fit",
    "make_policy",
    "make_value_function",
    "mlp",
]

__getattr__ = exports(
    __name__,
    {
        "Encoder": "encoder",
        "MirrorSymmetry": "mirror_symmetry",
        "MirroredEncoder": "mirror_symmetry",
        "Policy": "policy",
        "PolicySettings": "settings",
        "RunningNormalization": "normalization",
        "RunningReturnScale": "normalization",
        "ValueFunction": "value_function",
        "ValueSettings": "settings",
        "check_fit": "making",
        "make_policy": "making",
        "make_value_function": "making",
        "mlp": "networks",
    },
)
