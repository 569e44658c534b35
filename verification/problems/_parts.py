"""Pieces that several problems share: constant networks, linear queries, sums over held-out rows."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from probjax import Data, Network, log_likelihood
from probjax.types import Static
from verification.exact.reference import Certificate, Reference, difference_in_sd


def constant_network(size: int | None = None) -> Network:
    """f(x) = params for every row: [N], or [N, size]. It has no units to drop."""
    return Network(Partial(_constant_init, Static(size)), _constant_apply)


def _constant_init(static, key):
    return jax.random.normal(key, () if static.value is None else (static.value,))


def _constant_apply(params, x):
    return jnp.broadcast_to(params, (x.shape[0], *params.shape))


def rows_without_inputs(y) -> Data:
    """Data whose x says nothing."""
    return Data(jnp.zeros((len(y), 1)), jnp.asarray(y))


def new_rows(model, data: Data) -> Partial:
    """params -> log p(y_new | params), summed over the rows of `data`."""
    return Partial(_sum_new_rows, model, data)


def _sum_new_rows(model, data, params):
    return jnp.sum(log_likelihood(model, params, data))


def linear_queries(matrix) -> Partial:
    """params of `linear(D)` -> matrix @ [weight, bias]."""
    return Partial(_linear_query, jnp.asarray(matrix))


def _linear_query(matrix, params):
    return matrix @ jnp.append(params["weight"], params["bias"])


def principal_directions(covariance) -> tuple[list[str], np.ndarray]:
    """Names and rows: the eigenvectors of a posterior covariance, narrowest first. As queries they are uncorrelated, so
    that the checks of sds and correlations bound the error of every contrast, which single weights do not."""
    vectors = np.linalg.eigh(covariance)[1].T
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(1)[:, None], 1)
    return [f"direction {k + 1}" for k in range(len(vectors))], vectors * np.sign(largest)


def with_ones(x) -> np.ndarray:
    """x with a column of ones for the intercept."""
    return np.column_stack([x, np.ones(len(x))])


def certified(reference: Reference, second: Reference, found: str, second_name: str) -> Reference:
    """`reference` with a certificate from its agreement with an independent second method."""
    gap = difference_in_sd(reference, second)
    return reference._replace(certificate=Certificate(gap, found, second_name, gap))


def reweighted(log_ratio):
    """The damage of a bug whose posterior has a density: exact draws, resampled with weights wrong/right.

    Args:
        log_ratio: params -> log of the wrong (unnormalised) density over the right one.

    Raises:
        ArithmeticError: the two overlap so little that fewer than a fiftieth of the draws count.
    """

    compiled = jax.jit(jax.vmap(log_ratio))

    def damage(rng, params):
        log_weights = np.asarray(compiled(jax.tree.map(jnp.asarray, params)), float)
        weights = np.exp(log_weights - log_weights.max())
        effective, num = weights.sum() ** 2 / (weights**2).sum(), len(weights)
        if effective < num / 50:
            raise ArithmeticError(f"{effective:.0f} of {num} draws count under the wrong density; take a nearer one")
        rows = rng.choice(num, num, p=weights / weights.sum())
        return jax.tree.map(lambda leaf: np.asarray(leaf)[rows], params)

    return damage


def linear_params(w):
    """[S, D + 1], the intercept last -> params of `linear(D)` with leading S."""
    return {"weight": w[:, :-1], "bias": w[:, -1]}


def gaussian_draws(mean, covariance):
    """(rng, S) -> params of `linear(D)`, drawn from N(mean, covariance) over [weight, bias]."""
    factor = np.linalg.cholesky(covariance)

    def draw(rng, num_draws):
        return linear_params(mean + rng.standard_normal((num_draws, len(mean))) @ factor.T)

    return draw
