"""Action distributions: the part of a policy after its encoder."""

from typing import TYPE_CHECKING

from tf_trpo.lazy import exports

if TYPE_CHECKING:
    from tf_trpo.distributions.action_distribution import ActionDistribution as ActionDistribution
    from tf_trpo.distributions.action_distribution import Distribution as Distribution
    from tf_trpo.distributions.beta import Beta as Beta
    from tf_trpo.distributions.categorical import Categorical as Categorical
    from tf_trpo.distributions.gaussian import Gaussian as Gaussian
    from tf_trpo.distributions.making import make_action_distribution as make_action_distribution
    from tf_trpo.distributions.multi_categorical import MultiCategorical as MultiCategorical
    from tf_trpo.distributions.product import Product as Product
else:
    __getattr__, __dir__, __all__ = exports(__name__, __file__)
