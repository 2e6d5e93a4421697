"""Numerical methods for tensors and callables, independent of Keras, Gymnasium and policies.

Every function first checks the ranks and static shapes of its tensors, and raises ValueError if one is wrong.
"""

from tf_trpo.numerics.chunks import chunk_size_for as chunk_size_for
from tf_trpo.numerics.chunks import map_over_chunks as map_over_chunks
from tf_trpo.numerics.chunks import reduce_over_chunks as reduce_over_chunks
from tf_trpo.numerics.compiling import compiled_at_once as compiled_at_once
from tf_trpo.numerics.conjugate_gradient import ConjugateGradientResult as ConjugateGradientResult
from tf_trpo.numerics.conjugate_gradient import ConjugateGradientStatus as ConjugateGradientStatus
from tf_trpo.numerics.conjugate_gradient import conjugate_gradient as conjugate_gradient
from tf_trpo.numerics.constrained_step import MOST_CONSTRAINTS as MOST_CONSTRAINTS
from tf_trpo.numerics.constrained_step import ConstrainedStep as ConstrainedStep
from tf_trpo.numerics.constrained_step import constrained_step as constrained_step
from tf_trpo.numerics.fisher_vector_product import (
    double_backprop_fisher_vector_product as double_backprop_fisher_vector_product,
)
from tf_trpo.numerics.fisher_vector_product import (
    gauss_newton_fisher_vector_product as gauss_newton_fisher_vector_product,
)
from tf_trpo.numerics.fisher_vector_product import hessian_product_at_minimum as hessian_product_at_minimum
from tf_trpo.numerics.flat_parameters import flatten as flatten
from tf_trpo.numerics.flat_parameters import unflatten as unflatten
from tf_trpo.numerics.line_search import Limit as Limit
from tf_trpo.numerics.line_search import LineSearchResult as LineSearchResult
from tf_trpo.numerics.line_search import LineSearchStatus as LineSearchStatus
from tf_trpo.numerics.line_search import backtracking_line_search as backtracking_line_search
from tf_trpo.numerics.linear_recurrence import linear_recurrence as linear_recurrence
from tf_trpo.numerics.minibatches import minibatch_rows as minibatch_rows
from tf_trpo.numerics.minibatches import minibatch_size_of as minibatch_size_of
from tf_trpo.numerics.minibatches import minibatches_per_epoch as minibatches_per_epoch
from tf_trpo.numerics.minibatches import random_orders as random_orders
from tf_trpo.numerics.recurrence import Recurrence as Recurrence
from tf_trpo.numerics.recurrence import differentiable_twice as differentiable_twice
from tf_trpo.numerics.reflection import Reflection as Reflection
from tf_trpo.numerics.sampled_fisher import OuterProducts as OuterProducts
from tf_trpo.numerics.sampled_fisher import sampled_fisher_inverse as sampled_fisher_inverse
from tf_trpo.numerics.scalars import is_positive as is_positive
from tf_trpo.numerics.scalars import scalar as scalar
from tf_trpo.numerics.shapes import check_shapes as check_shapes
from tf_trpo.numerics.shapes import merged as merged
from tf_trpo.numerics.trust_region_step import step_length_for_kl as step_length_for_kl
