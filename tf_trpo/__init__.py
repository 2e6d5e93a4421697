"""Trust Region Policy Optimization for TensorFlow and Keras.

The names below are imported when they are first used, so `import tf_trpo` and `--help` do not wait for TensorFlow.
"""

import os
from typing import TYPE_CHECKING

from tf_trpo.lazy import exports

# Must be set before TensorFlow is imported. On a machine without a GPU, TensorFlow would log an error of CUDA, and XLA
# one for each program that it loads ("prefer-no-gather" is not a feature of the processor). Errors of operations are
# exceptions, and are not affected.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

__version__ = "0.1.0"

if TYPE_CHECKING:
    from tf_trpo import callbacks as callbacks
    from tf_trpo import demonstrations as demonstrations
    from tf_trpo import distributions as distributions
    from tf_trpo import environments as environments
    from tf_trpo import estimation as estimation
    from tf_trpo import experiment as experiment
    from tf_trpo import learning as learning
    from tf_trpo import models as models
    from tf_trpo import numerics as numerics
    from tf_trpo import optimizers as optimizers
    from tf_trpo import rollouts as rollouts
    from tf_trpo import serving as serving
    from tf_trpo import theory as theory
    from tf_trpo import training as training
    from tf_trpo import tuning as tuning
    from tf_trpo import workers as workers
    from tf_trpo.experiment import Experiment as Experiment
    from tf_trpo.training import TRPO as TRPO
    from tf_trpo.training import load as load
else:
    __getattr__, __dir__, __all__ = exports(__name__, __file__)
