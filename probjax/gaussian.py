"""Gaussian approximations over flat parameters, by the form in which their precision is kept.

Each record holds arrays only, the mean [P] among them, and offers the same four functions: `draw`, `covariance` of
linear functions, `log_det` of the covariance matrix, and `effective_parameters`. With prior precision diag(τ⁻²),
the scales τ, a precision is kept whitened: diag(1/τ) (I + C) diag(1/τ), C the whitened curvature of the likelihood.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.linalg import cho_solve, solve_triangular

from probjax.special import HALF_LOG_TWO_PI


class Gaussian(Protocol):
    """N(mean, Σ).

    draw(key, S): draws [S, P] and their log-density [S], nats.
    covariance(rows): J Σ Jᵀ for rows J [..., K, P]; [..., K, K].
    log_det(): log |Σ|. effective_parameters(): γ = P − tr(prior precision · Σ) (MacKay 1992), meaningful where the
    prior was proper. num_nonpositive(): directions in which the precision is not above 0 and Σ does not exist.
    """

    mean: Array

    def draw(self, key: Array, num_draws: int) -> tuple[Array, Array]: ...
    def covariance(self, rows: Array) -> Array: ...
    def log_det(self) -> Array: ...
    def effective_parameters(self) -> Array: ...
    def num_nonpositive(self) -> Array: ...


class Dense(NamedTuple):
    """Precision diag(1/scale) V diag(e) Vᵀ diag(1/scale): mean, scale, eigenvalues e [P], vectors V [P, P]."""

    mean: Array
    scale: Array
    eigenvalues: Array
    vectors: Array

    def draw(self, key, num_draws):
        noise = jax.random.normal(key, (num_draws, self.mean.size), self.mean.dtype)
        draws = self.mean + self.scale * ((noise / jnp.sqrt(positive(self.eigenvalues))) @ self.vectors.T)
        return draws, log_density(jnp.sum(noise**2, axis=1), self)

    def covariance(self, rows):
        half = (rows * self.scale) @ self.vectors / jnp.sqrt(positive(self.eigenvalues))
        return half @ jnp.swapaxes(half, -1, -2)

    def log_det(self):
        return 2 * jnp.sum(jnp.log(self.scale)) - jnp.sum(jnp.log(positive(self.eigenvalues)))

    def effective_parameters(self):
        return jnp.sum((self.eigenvalues - 1) / positive(self.eigenvalues))

    def num_nonpositive(self):
        return jnp.sum(~(self.eigenvalues > 0))


class Dual(NamedTuple):
    """Precision diag(1/scale) (I + AᵀA) diag(1/scale), A [M, P] with M < P, by the Cholesky factor [M, M] of I + AAᵀ
    (Woodbury; Immer, Korzepa & Bauer 2021): nothing P × P."""

    mean: Array
    scale: Array
    root: Array
    cholesky: Array

    def draw(self, key, num_draws):
        prior_key, data_key = jax.random.split(key)
        num_rows, size = self.root.shape
        noise = jax.random.normal(prior_key, (num_draws, size), self.mean.dtype)
        errors = jax.random.normal(data_key, (num_draws, num_rows), self.mean.dtype)
        # Matheron's rule: a prior draw, less what made-up data would say of it
        residual = cho_solve((self.cholesky, True), (noise @ self.root.T + errors).T).T
        whitened = noise - residual @ self.root
        squares = jnp.sum(whitened**2, axis=1) + jnp.sum((whitened @ self.root.T) ** 2, axis=1)
        return self.mean + self.scale * whitened, log_density(squares, self)

    def covariance(self, rows):
        rows = rows * self.scale
        along = rows @ self.root.T
        solved = jax.vmap(lambda v: solve_triangular(self.cholesky, v, lower=True))
        half = solved(along.reshape(-1, along.shape[-1])).reshape(along.shape)
        return rows @ jnp.swapaxes(rows, -1, -2) - half @ jnp.swapaxes(half, -1, -2)

    def log_det(self):
        return 2 * jnp.sum(jnp.log(self.scale)) - 2 * jnp.sum(jnp.log(jnp.diag(self.cholesky)))

    def effective_parameters(self):
        inverse = solve_triangular(self.cholesky, jnp.eye(len(self.cholesky), dtype=self.mean.dtype), lower=True)
        return len(self.cholesky) - jnp.sum(inverse**2)

    def num_nonpositive(self):
        return jnp.sum(~(jnp.diag(self.cholesky) > 0))


class Diagonal(NamedTuple):
    """Precision diag(ratio / scale²): mean, scale, ratio [P]."""

    mean: Array
    scale: Array
    ratio: Array

    def draw(self, key, num_draws):
        noise = jax.random.normal(key, (num_draws, self.mean.size), self.mean.dtype)
        draws = self.mean + noise * self.scale / jnp.sqrt(positive(self.ratio))
        return draws, log_density(jnp.sum(noise**2, axis=1), self)

    def covariance(self, rows):
        half = rows * (self.scale / jnp.sqrt(positive(self.ratio)))
        return half @ jnp.swapaxes(half, -1, -2)

    def log_det(self):
        return 2 * jnp.sum(jnp.log(self.scale)) - jnp.sum(jnp.log(positive(self.ratio)))

    def effective_parameters(self):
        return jnp.sum((self.ratio - 1) / positive(self.ratio))

    def num_nonpositive(self):
        return jnp.sum(~(self.ratio > 0))


class Layer(NamedTuple):
    """Of one layer's parameters as a matrix [in, out]: prior scale of each row [in], eigenvectors [in, in] and
    [out, out] of the two factors, ratio [in, out] = 1 + products of their eigenvalues."""

    scale: Array
    vectors_in: Array
    vectors_out: Array
    ratio: Array


class Kron(NamedTuple):
    """Block by block the precision (scale⁻¹ ⊗ I) (I + A ⊗ G) (scale⁻¹ ⊗ I): mean [P] and a `Layer` a block, whose
    parameters follow one another in the mean."""

    mean: Array
    layers: tuple[Layer, ...]

    def draw(self, key, num_draws):
        noise = jax.random.normal(key, (num_draws, self.mean.size), self.mean.dtype)
        blocks = [
            layer.scale[:, None] * (layer.vectors_in @ (z / jnp.sqrt(layer.ratio)) @ layer.vectors_out.T)
            for layer, z in zip(self.layers, self._blocks(noise))
        ]
        moved = jnp.concatenate([block.reshape(num_draws, -1) for block in blocks], axis=1)
        return self.mean + moved, log_density(jnp.sum(noise**2, axis=1), self)

    def covariance(self, rows):
        half = [
            layer.vectors_in.T @ (layer.scale[:, None] * block) @ layer.vectors_out / jnp.sqrt(layer.ratio)
            for layer, block in zip(self.layers, self._blocks(rows))
        ]
        half = jnp.concatenate([block.reshape(*rows.shape[:-1], -1) for block in half], axis=-1)
        return half @ jnp.swapaxes(half, -1, -2)

    def log_det(self):
        scales = sum(2 * layer.ratio.shape[1] * jnp.sum(jnp.log(layer.scale)) for layer in self.layers)
        return scales - sum(jnp.sum(jnp.log(layer.ratio)) for layer in self.layers)

    def effective_parameters(self):
        return sum(jnp.sum((layer.ratio - 1) / layer.ratio) for layer in self.layers)

    def num_nonpositive(self):
        return sum(jnp.sum(~(layer.ratio > 0)) for layer in self.layers)

    def _blocks(self, rows):
        ends = [0]
        for layer in self.layers:
            ends.append(ends[-1] + layer.ratio.size)
        shapes = [layer.ratio.shape for layer in self.layers]
        return [rows[..., a:b].reshape(*rows.shape[:-1], *shape) for a, b, shape in zip(ends, ends[1:], shapes)]


class Part(NamedTuple):
    """A Gaussian over the parameters at `index` [Q] of the mean [P]; the others are known. Its log-density is that of
    the part."""

    mean: Array
    index: Array
    inner: Dense | Dual

    def draw(self, key, num_draws):
        draws, log_q = self.inner.draw(key, num_draws)
        return jnp.tile(self.mean, (num_draws, 1)).at[:, self.index].set(draws), log_q

    def covariance(self, rows):
        return self.inner.covariance(rows[..., self.index])

    def log_det(self):
        return self.inner.log_det()

    def effective_parameters(self):
        return self.inner.effective_parameters()

    def num_nonpositive(self):
        return self.inner.num_nonpositive()


def positive(precision: Array) -> Array:
    """A precision that is not above 0 belongs to no Gaussian: NaN, reported and not patched, and never an infinity."""
    return jnp.where(precision > 0, precision, jnp.nan)


def above_rounding(eigenvalues: Array) -> Array:
    """Eigenvalues of a symmetric matrix [P], NaN where rounding alone could have made them: that is no precision."""
    smallest = eigenvalues.size * jnp.finfo(eigenvalues.dtype).eps * jnp.max(jnp.abs(eigenvalues))
    return jnp.where(eigenvalues > smallest, eigenvalues, jnp.nan)


def density_name(gaussian: Gaussian) -> str:
    """What the log-density of its draws is called in info: `log_q` is that of all parameters and of nothing less."""
    return "log_q" if num_free(gaussian) == gaussian.mean.size else "log_q_last"


def num_free(gaussian: Gaussian) -> int:
    """How many parameters the density is over."""
    return gaussian.inner.mean.size if isinstance(gaussian, Part) else gaussian.mean.size


def log_density(squares: Array, gaussian: Gaussian) -> Array:
    """−½ Mahalanobis² − ½ log|2πΣ|, nats."""
    return -0.5 * (squares + gaussian.log_det()) - num_free(gaussian) * HALF_LOG_TWO_PI
