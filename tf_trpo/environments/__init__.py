"""Vector environments: making them, and refusing those that would be misread."""

from tf_trpo.environments.vector import VectorBackend, make_vector_environment, open_vector_environment

__all__ = ["VectorBackend", "make_vector_environment", "open_vector_environment"]
