"""Action distributions: everything about actions that comes after a policy's encoder."""

from tf_trpo.distributions.action_distribution import ActionDistribution as ActionDistribution
from tf_trpo.distributions.action_distribution import Distribution as Distribution
from tf_trpo.distributions.categorical import Categorical as Categorical
from tf_trpo.distributions.gaussian import Gaussian as Gaussian
