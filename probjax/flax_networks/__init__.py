"""Flax modules as Networks: Dropout layers become masks that a draw carries, batch statistics a function of it."""

from probjax.flax_networks.linen_modules import from_linen
from probjax.flax_networks.masks import Masked
from probjax.flax_networks.nnx_modules import from_nnx

__all__ = ["Masked", "from_linen", "from_nnx"]
