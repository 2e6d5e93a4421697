"""Export trained policies, and serve exported models.

The names below are imported at their first use, so that the server imports TensorFlow but not Keras.
"""

from typing import TYPE_CHECKING

from tf_trpo.lazy import exports

if TYPE_CHECKING:
    from tf_trpo.serving.export import export_policy as export_policy
    from tf_trpo.serving.metadata import ModelMetadata as ModelMetadata
    from tf_trpo.serving.metadata import read_metadata as read_metadata
else:
    __getattr__, __dir__, __all__ = exports(__name__, __file__)
