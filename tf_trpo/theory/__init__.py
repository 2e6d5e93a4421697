"""The theory of TRPO on finite MDPs, computed exactly from NumPy arrays in float64."""

from tf_trpo.theory.finite_mdp import FiniteMDP as FiniteMDP
from tf_trpo.theory.finite_mdp import PolicyEvaluation as PolicyEvaluation
from tf_trpo.theory.finite_mdp import random_mdp as random_mdp
from tf_trpo.theory.finite_mdp import random_policy as random_policy
from tf_trpo.theory.information import cross_entropy as cross_entropy
from tf_trpo.theory.information import entropy as entropy
from tf_trpo.theory.information import gaussian_entropy as gaussian_entropy
from tf_trpo.theory.information import gaussian_kl_divergence as gaussian_kl_divergence
from tf_trpo.theory.information import information as information
from tf_trpo.theory.information import kl_divergence as kl_divergence
from tf_trpo.theory.kl_ball import KLBallMaximum as KLBallMaximum
from tf_trpo.theory.kl_ball import maximize_within_kl as maximize_within_kl
from tf_trpo.theory.lower_bound import local_approximation as local_approximation
from tf_trpo.theory.lower_bound import lower_bound as lower_bound
from tf_trpo.theory.lower_bound import max_kl_divergence as max_kl_divergence
from tf_trpo.theory.lower_bound import penalty_coefficient as penalty_coefficient
from tf_trpo.theory.lower_bound import performance_difference as performance_difference
from tf_trpo.theory.minorization_maximization import LowerBoundMaximum as LowerBoundMaximum
from tf_trpo.theory.minorization_maximization import MinorizationMaximizationResult as MinorizationMaximizationResult
from tf_trpo.theory.minorization_maximization import MinorizationMaximizationStatus as MinorizationMaximizationStatus
from tf_trpo.theory.minorization_maximization import maximize_lower_bound as maximize_lower_bound
from tf_trpo.theory.minorization_maximization import minorization_maximization as minorization_maximization
