"""Observation spaces as nests of array specs; the one place that knows Gymnasium's observation spaces."""

from tf_trpo.spaces.observations import ACTION_MASK, MASKED_ACTIONS, is_text, observation_spec
from tf_trpo.spaces.reading import WrongValueError, as_batch, kind_of, number_array, observation_reader
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
    "MASKED_ACTIONS",
    "PartSpec",
    "Spec",
    "WrongValueError",
    "as_batch",
    "as_spec",
    "difference",
    "flatten_to",
    "from_json",
    "is_image",
    "is_text",
    "kind_of",
    "map_parts",
    "mask_of",
    "named",
    "nest_of",
    "number_array",
    "observation_reader",
    "observation_spec",
    "parts",
    "to_json",
    "unnamed",
    "without_masks",
]
