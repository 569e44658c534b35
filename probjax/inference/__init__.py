"""Approximations of a posterior, one file each: `(key, model, data, *, settings) -> Posterior`."""

from probjax.inference.anchored import anchored
from probjax.inference.at_mode import trained
from probjax.inference.bootstrap import bayesian_weights, bootstrap, pairs_weights
from probjax.inference.dropout import dropout, masked
from probjax.inference.ensemble import ensemble
from probjax.inference.glm import glm, glm_path
from probjax.inference.importance import importance_corrected
from probjax.inference.laplace import hessian_gaussian, laplace
from probjax.inference.laplace_diagonal import diagonal_gaussian, laplace_diagonal
from probjax.inference.laplace_ggn import ggn_gaussian, laplace_ggn
from probjax.inference.laplace_kron import kron_gaussian, laplace_kron
from probjax.inference.laplace_last_layer import laplace_last_layer, last_layer_gaussian
from probjax.inference.map_estimate import map_estimate
from probjax.inference.neural_linear import neural_linear, neural_linear_gaussian
from probjax.inference.nuts import nuts
from probjax.inference.precision_by_evidence import precision_by_evidence
from probjax.inference.randomised_map import randomised_map
from probjax.inference.sghmc import sghmc
from probjax.inference.sgld import sgld
from probjax.inference.stein import stein
from probjax.inference.swag import multi_swag, swag, swag_from_checkpoints
from probjax.inference.variational import bnaf, full_rank, iaf, low_rank, mean_field

__all__ = [
    "anchored",
    "bayesian_weights",
    "bnaf",
    "bootstrap",
    "diagonal_gaussian",
    "dropout",
    "ensemble",
    "full_rank",
    "ggn_gaussian",
    "glm",
    "glm_path",
    "hessian_gaussian",
    "iaf",
    "importance_corrected",
    "kron_gaussian",
    "laplace",
    "laplace_diagonal",
    "laplace_ggn",
    "laplace_kron",
    "laplace_last_layer",
    "last_layer_gaussian",
    "low_rank",
    "map_estimate",
    "masked",
    "mean_field",
    "multi_swag",
    "neural_linear",
    "neural_linear_gaussian",
    "nuts",
    "pairs_weights",
    "precision_by_evidence",
    "randomised_map",
    "sghmc",
    "sgld",
    "stein",
    "swag",
    "swag_from_checkpoints",
    "trained",
]
