"""What several claims share: models of one column, fits, colours."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from probjax import Data, Model, glm, linear, priors

GOOD, BAD, THIRD, TRUTH = "#1f78b4", "#d95f02", "#1b9e77", "black"  # told apart by the colour-blind
KEY = jax.random.key(0)


def fitted(x: np.ndarray, y: np.ndarray, likelihood, prior=None) -> np.ndarray:
    """[weight, bias] at the mode of a linear model (flat prior: the maximum of the likelihood)."""
    model = Model(*linear(x.shape[1]), prior=prior or priors.flat(), likelihood=likelihood)
    posterior = glm(KEY, model, Data(jnp.asarray(x), jnp.asarray(y)), tolerance=1e-12)
    if not abs(posterior.info["gap"]) <= 1e-7:  # nats: rounding may keep the gradient above so small a tolerance
        raise RuntimeError(f"the fit of a claim did not converge: gap {float(posterior.info['gap'])}")
    params = posterior.draws
    return np.append(params["weight"][0], params["bias"][0])


def least_squares(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """[weight, bias] by LAPACK."""
    return np.linalg.lstsq(np.column_stack([x, np.ones(len(y))]), y, rcond=None)[0]


def on_weights(prior):
    """A prior for the weights, none for the bias."""
    return priors.joint(weight=prior, bias=priors.flat())


def gap(a, b) -> float:
    """The largest distance between two arrays."""
    return float(np.max(np.abs(np.asarray(a) - np.asarray(b))))
