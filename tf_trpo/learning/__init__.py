"""Learning: one update of an agent's models, from a rollout to new weights, as compiled programs."""

from typing import TYPE_CHECKING

from tf_trpo.lazy import exports

if TYPE_CHECKING:
    from tf_trpo.learning.learner import Learner as Learner
    from tf_trpo.learning.settings import UpdateSettings as UpdateSettings
else:
    __getattr__, __dir__, __all__ = exports(__name__, __file__)
