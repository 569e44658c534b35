"""Approximations of a posterior, one file each: `(key, model, data, *, settings) -> Posterior`."""

from probjax.inference.dropout import dropout
from probjax.inference.ensemble import ensemble
from probjax.inference.glm import glm, glm_path
from probjax.inference.laplace import laplace
from probjax.inference.map_estimate import map_estimate
from probjax.inference.nuts import nuts
from probjax.inference.variational import full_rank, mean_field

__all__ = ["dropout", "ensemble", "full_rank", "glm", "glm_path", "laplace", "map_estimate", "mean_field", "nuts"]
