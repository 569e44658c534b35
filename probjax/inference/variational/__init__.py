"""Variational inference by NumPyro's SVI; the methods differ by the family of q."""

from probjax.inference.variational.flows import bnaf, iaf
from probjax.inference.variational.gaussian import full_rank, low_rank, mean_field

__all__ = ["bnaf", "full_rank", "iaf", "low_rank", "mean_field"]
