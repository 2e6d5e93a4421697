"""Keras callbacks: progress, TensorBoard and films of episodes, CSV, checkpoints, evaluation."""

from tf_trpo.callbacks.checkpoint import Checkpoint as Checkpoint
from tf_trpo.callbacks.episode_video import EpisodeVideo as EpisodeVideo
from tf_trpo.callbacks.evaluation import Evaluate as Evaluate
from tf_trpo.callbacks.history_csv import HistoryCSV as HistoryCSV
from tf_trpo.callbacks.progress import Progress as Progress
from tf_trpo.callbacks.resources import ReleasesResources as ReleasesResources
from tf_trpo.callbacks.resources import SavesOnFailure as SavesOnFailure
from tf_trpo.callbacks.stop_on_signal import StopOnSignal as StopOnSignal
from tf_trpo.callbacks.tensorboard import TensorBoard as TensorBoard
