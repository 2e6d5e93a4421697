"""Observation spaces as nests of array specs; the one place that knows Gymnasium's observation spaces."""

from tf_trpo.spaces.observations import ACTION_MASK, as_arrays, as_batch, is_text, observation_spec
from tf_trpo.spaces.specs import (
    PartSpec,
    Spec,
    as_spec,
    difference,
    flatten_to,
    from_json,
    is_image,
    map_parts,
    mask_of,
    named,
    nest_of,
    parts,
    to_json,
    unnamed,
    without_masks,
)

__all__ = [
    "ACTION_MASK",
    "PartSpec",
    "Spec",
    "as_arrays",
    "as_batch",
    "as_spec",
    "difference",
    "flatten_to",
    "from_json",
    "is_image",
    "is_text",
    "map_parts",
    "mask_of",
    "named",
    "nest_of",
    "observation_spec",
    "parts",
    "to_json",
    "unnamed",
    "without_masks",
]
