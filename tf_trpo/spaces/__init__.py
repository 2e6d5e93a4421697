"""Observation spaces as nests of array specs; the only package that reads Gymnasium's observation spaces."""

from tf_trpo.spaces.observations import ACTION_MASK as ACTION_MASK
from tf_trpo.spaces.observations import MASKED_ACTIONS as MASKED_ACTIONS
from tf_trpo.spaces.observations import is_text as is_text
from tf_trpo.spaces.observations import observation_spec as observation_spec
from tf_trpo.spaces.reading import as_batch as as_batch
from tf_trpo.spaces.reading import is_finite as is_finite
from tf_trpo.spaces.reading import number_array as number_array
from tf_trpo.spaces.reading import observation_reader as observation_reader
from tf_trpo.spaces.specs import PartSpec as PartSpec
from tf_trpo.spaces.specs import Spec as Spec
from tf_trpo.spaces.specs import WrongValueError as WrongValueError
from tf_trpo.spaces.specs import as_spec as as_spec
from tf_trpo.spaces.specs import difference as difference
from tf_trpo.spaces.specs import flatten_to as flatten_to
from tf_trpo.spaces.specs import from_json as from_json
from tf_trpo.spaces.specs import is_image as is_image
from tf_trpo.spaces.specs import kind_of as kind_of
from tf_trpo.spaces.specs import map_parts as map_parts
from tf_trpo.spaces.specs import mask_of as mask_of
from tf_trpo.spaces.specs import named as named
from tf_trpo.spaces.specs import nest_of as nest_of
from tf_trpo.spaces.specs import parts as parts
from tf_trpo.spaces.specs import to_json as to_json
from tf_trpo.spaces.specs import unnamed as unnamed
from tf_trpo.spaces.specs import without_masks as without_masks
