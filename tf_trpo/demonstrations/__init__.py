"""Demonstrations: episodes of an expert, which are recorded, stored as Minari datasets, and cloned by a policy."""

from tf_trpo.demonstrations.datasets import read as read
from tf_trpo.demonstrations.datasets import write as write
from tf_trpo.demonstrations.episodes import Demonstrations as Demonstrations
from tf_trpo.demonstrations.episodes import Episode as Episode
from tf_trpo.demonstrations.recording import record as record
