"""Action distributions: everything about actions that comes after a policy's encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tf_trpo.lazy import exports

if TYPE_CHECKING:
    from tf_trpo.distributions.action_distribution import ActionDistribution
    from tf_trpo.distributions.categorical import Categorical
    from tf_trpo.distributions.gaussian import Gaussian

__all__ = ["ActionDistribution", "Categorical", "Gaussian"]

__getattr__ = exports(
    __name__,
    {"ActionDistribution": "action_distribution", "Categorical": "categorical", "Gaussian": "gaussian"},
)
