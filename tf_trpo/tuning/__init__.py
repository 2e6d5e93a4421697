"""Search for settings of an experiment by Optuna, and compare the best with the default settings on fresh seeds."""

from typing import TYPE_CHECKING

from tf_trpo.lazy import exports

if TYPE_CHECKING:
    from tf_trpo.tuning.comparison import Comparison as Comparison
    from tf_trpo.tuning.space import Choice as Choice
    from tf_trpo.tuning.space import Range as Range
    from tf_trpo.tuning.space import SearchSpace as SearchSpace
    from tf_trpo.tuning.space import default_space as default_space
    from tf_trpo.tuning.space import read_space as read_space
    from tf_trpo.tuning.tuning import Tuning as Tuning
    from tf_trpo.tuning.tuning import TuningFailedError as TuningFailedError
    from tf_trpo.tuning.tuning import TuningResult as TuningResult
else:
    __getattr__, __dir__, __all__ = exports(__name__, __file__)
