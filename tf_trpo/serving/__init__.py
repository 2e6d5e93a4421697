"""Trained policies outside of training: SavedModels for serving."""

from tf_trpo.serving.export import export_policy

__all__ = ["export_policy"]
