"""Make vector environments, and refuse environments that would be misread."""

from tf_trpo.environments.checking import check_environment as check_environment
from tf_trpo.environments.costs import Cost as Cost
from tf_trpo.environments.episodes import replay_endings as replay_endings
from tf_trpo.environments.failures import EnvironmentFailedError as EnvironmentFailedError
from tf_trpo.environments.failures import InvalidStepError as InvalidStepError
from tf_trpo.environments.findings import EnvironmentReport as EnvironmentReport
from tf_trpo.environments.findings import Finding as Finding
from tf_trpo.environments.frames import FrameStack as FrameStack
from tf_trpo.environments.masks import ActionMask as ActionMask
from tf_trpo.environments.masks import ActionMasks as ActionMasks
from tf_trpo.environments.masks import WithoutText as WithoutText
from tf_trpo.environments.mirrors import known_mirror as known_mirror
from tf_trpo.environments.rendering import check_rendering as check_rendering
from tf_trpo.environments.rendering import open_rendered_environment as open_rendered_environment
from tf_trpo.environments.vector import VectorBackend as VectorBackend
from tf_trpo.environments.vector import can_replay as can_replay
from tf_trpo.environments.vector import can_reset_some as can_reset_some
from tf_trpo.environments.vector import make_vector_environment as make_vector_environment
from tf_trpo.environments.vector import open_vector_environment as open_vector_environment
from tf_trpo.environments.vector import replay_episodes as replay_episodes
