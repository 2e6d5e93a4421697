"""Vector environments: making them, and refusing those that would be misread."""

from tf_trpo.environments.failures import EnvironmentFailedError, InvalidStepError
from tf_trpo.environments.mirrors import known_mirror
from tf_trpo.environments.vector import (
    VectorBackend,
    can_replay,
    can_reset_some,
    make_vector_environment,
    open_vector_environment,
    replay_endings,
    replay_episodes,
)

__all__ = [
    "EnvironmentFailedError",
    "InvalidStepError",
    "VectorBackend",
    "can_replay",
    "can_reset_some",
    "known_mirror",
    "make_vector_environment",
    "open_vector_environment",
    "replay_endings",
    "replay_episodes",
]
