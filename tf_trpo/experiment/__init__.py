"""Experiments: all settings of a training run as one value, and the run with its folder."""

from tf_trpo.experiment.experiment import Experiment as Experiment
from tf_trpo.experiment.run_folder import RunFolder as RunFolder
