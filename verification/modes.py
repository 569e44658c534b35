"""Whether a point is a mode: its gradient, the Karush–Kuhn–Tucker conditions where the prior has kinks, and the
curvature, all by the model's own density and none of the optimiser's words."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from probjax import Model, Target, priors, target
from probjax.inference.laplace import MAX_PARAMS


class ModeCertificate(NamedTuple):
    """grad_norm: max|∇ log joint|, nats, of what is smooth; where the prior has kinks |∇ⱼ| may reach their rates.
    violation: the largest distance of 0 from the subdifferential; grad_norm where there are no kinks.
    smallest_eigenvalue: of −∇² of the smooth part, among the coordinates that are not held at a kink; above 0 the point
        is a strict local maximum. +∞ where all are held.
    gain: ½ ∇ᵀH⁻¹∇ among those, nats: what Newton's step would gain; NaN unless H is positive definite.
    num_held: how many coordinates are exactly at their kink.
    """

    grad_norm: float
    violation: float
    smallest_eigenvalue: float
    gain: float
    num_held: int

    def is_mode(self, tolerance: float) -> bool:
        """Whether the conditions of first order hold to `tolerance` (nats a unit of params) and that of second order
        strictly."""
        return self.violation <= tolerance and self.smallest_eigenvalue > 0


def certify_mode(model: Model | Target, data: Any, params: Any) -> ModeCertificate:
    """The conditions of a local maximum of log p(params, y), checked at `params` with dense derivatives.

    Args:
        params: one point, not a draw with a leading axis.

    Raises:
        ValueError: more than 4000 parameters, or a prior with a pole or an atom (horseshoe), whose mode is no
            stationary point.

    >>> from probjax import Data, likelihoods, linear
    >>> model = Model(*linear(1), prior=priors.normal(), likelihood=likelihoods.normal(1.0))
    >>> data = Data(jnp.ones((4, 1)), jnp.ones(4))  # the mode is (4/9, 4/9)
    >>> certify_mode(model, data, {"weight": jnp.full(1, 4 / 9), "bias": jnp.asarray(4 / 9)}).is_mode(1e-5)
    True
    """
    params = jax.tree.map(jnp.asarray, params)
    flat, unravel = ravel_pytree(params)
    if flat.size > MAX_PARAMS:
        raise ValueError(f"params has {flat.size} numbers and their dense Hessian that squared; at most {MAX_PARAMS}")
    centre, rate = _kinks(model, params)
    # where |w − c| has its kink both terms have the derivative 0, elsewhere they cancel: what is left is smooth
    smooth = lambda w: -target(model).log_joint(unravel(w), data) - jnp.sum(rate * jnp.abs(w - centre))
    gradient, hessian = jax.jit(lambda w: (jax.grad(smooth)(w), jax.hessian(smooth)(w)))(flat)
    gradient, hessian = np.asarray(gradient, float), np.asarray(hessian, float)
    w, centre, rate = (np.asarray(part, float) for part in (flat, centre, rate))
    held = (w == centre) & (rate > 0)
    along = np.where(held, np.maximum(np.abs(gradient) - rate, 0.0), np.abs(gradient + rate * np.sign(w - centre)))
    free, slope = ~held, (gradient + rate * np.sign(w - centre))[~held]
    eigenvalues, vectors = np.linalg.eigh(hessian[np.ix_(free, free)])
    smallest = float(eigenvalues.min(initial=np.inf))
    gain = float(0.5 * ((vectors.T @ slope) ** 2 / eigenvalues).sum()) if smallest > 0 else float("nan")
    return ModeCertificate(float(np.abs(gradient).max()), float(along.max()), smallest, gain, int(held.sum()))


def _kinks(model, params):
    """Σ rate |w − centre| of −log prior, flat: (centre [P], rate [P])."""
    if isinstance(model, Target):
        centre = rate = jax.tree.map(jnp.zeros_like, params)
    elif priors.has_pole(model.prior):
        raise ValueError("the prior has a pole or an atom, where no derivative says what a mode is; take another prior")
    else:
        centre, rate = priors.kinks(model.prior, params)
    return ravel_pytree(centre)[0], ravel_pytree(rate)[0]
