"""Solvers for tensors and callables. They know no Keras, no Gymnasium and no policy.

Every function checks the ranks and static shapes of its tensors first, and raises ValueError if one is wrong.
"""

from tf_trpo.numerics.chunks import chunk_size_for, map_over_chunks, reduce_over_chunks
from tf_trpo.numerics.conjugate_gradient import (
    ConjugateGradientResult,
    ConjugateGradientStatus,
    conjugate_gradient,
)
from tf_trpo.numerics.fisher_vector_product import (
    double_backprop_fisher_vector_product,
    gauss_newton_fisher_vector_product,
    has_forward_mode,
    hessian_product_at_minimum,
)
from tf_trpo.numerics.flat_parameters import flatten, unflatten
from tf_trpo.numerics.line_search import (
    LineSearchResult,
    LineSearchStatus,
    backtracking_line_search,
)
from tf_trpo.numerics.linear_recurrence import linear_recurrence
from tf_trpo.numerics.minibatches import minibatch_rows, minibatches_per_epoch, random_orders
from tf_trpo.numerics.reflection import Reflection
from tf_trpo.numerics.shapes import check_shapes
from tf_trpo.numerics.trust_region_step import step_length_for_kl

__all__ = [
    "ConjugateGradientResult",
    "ConjugateGradientStatus",
    "LineSearchResult",
    "LineSearchStatus",
    "Reflection",
    "backtracking_line_search",
    "check_shapes",
    "chunk_size_for",
    "conjugate_gradient",
    "double_backprop_fisher_vector_product",
    "flatten",
    "gauss_newton_fisher_vector_product",
    "has_forward_mode",
    "hessian_product_at_minimum",
    "linear_recurrence",
    "map_over_chunks",
    "minibatch_rows",
    "minibatches_per_epoch",
    "random_orders",
    "reduce_over_chunks",
    "step_length_for_kl",
    "unflatten",
]
