"""What the claims on members share: fits to the minimum, and sds over members with margins."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy import stats

NEAR = 0.05  # of an sd, relative
ALPHA = 1e-4  # of each margin: the worst of some ten numbers then raises a false alarm in one run of a thousand


def one_step(objective, params):
    """A Newton step, which ends at the minimum of a quadratic from anywhere: column i of its Hessian is the difference
    of two gradients, at w + eᵢ and at w."""
    w, unravel = ravel_pytree(params)
    gradient = jax.grad(lambda w: objective(unravel(w)))
    slopes = jax.vmap(gradient)(w + jnp.eye(len(w) + 1, len(w), -1))
    return unravel(w - jax.scipy.linalg.solve(slopes[1:] - slopes[0], slopes[0], assume_a="pos")), {}


def descend(objective, params, *, rate, num_steps=2000):
    """Gradient descent."""
    step = lambda w, _: (jax.tree.map(lambda a, slope: a - rate * slope, w, jax.grad(objective)(w)), None)
    return jax.lax.scan(step, params, None, length=num_steps)[0], {}


def sd_error(variances, exact) -> tuple[float, float]:
    """Of √(mean over R independent variances [R, Q]) against exact sds [Q]: the worst relative error, and its margin, t
    standard errors at `ALPHA`."""
    ratios = np.asarray(variances) / np.asarray(exact) ** 2
    sd = np.sqrt(ratios.mean(0))
    error = ratios.std(0, ddof=1) / np.sqrt(len(ratios)) / (2 * np.maximum(sd, 1e-300))
    margin = np.where(sd > 0, stats.t.ppf(1 - ALPHA / 2, len(ratios) - 1) * error, 0.0)
    worst = int(np.argmax(np.abs(sd - 1) + margin))
    return float(abs(sd[worst] - 1)), float(margin[worst])
