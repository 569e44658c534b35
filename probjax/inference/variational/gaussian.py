"""Gaussian variational families over the flattened parameters: diagonal, low-rank plus diagonal, full."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array
from numpyro.infer.autoguide import AutoLowRankMultivariateNormal, AutoMultivariateNormal, AutoNormal
from numpyro.infer.initialization import init_to_value

from probjax.inference.variational.svi import Family, diagonal_whitening, full_whitening, maximise_elbo, num_params
from probjax.types import Data, Model, Posterior, Target
from probjax.validation import require_counts

MAX_FULL = 4000  # parameters up to which a dense triangle, its gradient and Adam's moments are held: 0.7 GB in float64


def mean_field(
    key: Array,
    model: Model | Target,
    data: Data,
    *,
    num_draws: int = 1000,
    num_steps: int = 1000,
    learning_rate: float = 0.02,
    num_particles: int = 8,
) -> Posterior:
    """q(params) = Π N(mⱼ, sⱼ²) maximising the ELBO E_q[log p(y, params) − log q] (Jordan et al. 1999; Kingma &
    Welling 2014).

    On a Gaussian posterior with precision Λ the optimum has sⱼ² = 1/Λⱼⱼ: never wider than the truth (Bishop 2006
    §10.1.2).

    Args:
        key: split by purpose into start, optimisation and draws.
        num_draws: S.
        num_steps, learning_rate: of Adam, the rate decaying to 0; parameters of the last quarter are averaged.
        num_particles: Monte-Carlo samples of the ELBO a step.

    Returns:
        Posterior with draws [S, …]; info: `elbo` (nats, mean over the last quarter), `elbo_drift` (last eighth minus
        the one before) with its standard error `elbo_drift_se`, `converged` (drift within 4 standard errors + 0.01
        nats), `log_q` [S].

    >>> from probjax import likelihoods, linear, priors
    >>> model = Model(*linear(1), prior=priors.normal(), likelihood=likelihoods.normal(1.0))
    >>> data = Data(jnp.ones((4, 1)), jnp.ones(4))
    >>> posterior = mean_field(jax.random.key(0), model, data, num_steps=16, num_draws=5)
    >>> posterior.draws["weight"].shape, sorted(posterior.info)
    ((5, 1), ['converged', 'elbo', 'elbo_drift', 'elbo_drift_se', 'log_q'])
    """
    family = Family("mean_field", lambda program, start: AutoNormal(program, **_at_zero(start)), _draw_independent)
    settings = (num_draws, num_steps, learning_rate, num_particles)
    return maximise_elbo(key, model, data, family, diagonal_whitening, *settings)


def full_rank(
    key: Array,
    model: Model | Target,
    data: Data,
    *,
    num_draws: int = 1000,
    num_steps: int = 1000,
    learning_rate: float = 0.02,
    num_particles: int = 8,
) -> Posterior:
    """q(params) = N(m, LLᵀ) maximising the ELBO, L lower triangular (Kucukelbir et al. 2017). Exact on Gaussian
    posteriors.

    Args and Returns: as `mean_field`.

    Raises:
        ValueError: more than MAX_FULL parameters.
    """
    size = num_params(model)
    if size > MAX_FULL:
        raise ValueError(
            f"full_rank: {size} parameters need a dense {size}² triangle; at most {MAX_FULL} are supported; "
            "use low_rank or mean_field"
        )
    family = Family("full_rank", lambda program, start: AutoMultivariateNormal(program, **_at_zero(start)), _draw_full)
    settings = (num_draws, num_steps, learning_rate, num_particles)
    return maximise_elbo(key, model, data, family, full_whitening, *settings)


def low_rank(
    key: Array,
    model: Model | Target,
    data: Data,
    *,
    rank: int = 4,
    num_draws: int = 1000,
    num_steps: int = 1000,
    learning_rate: float = 0.02,
    num_particles: int = 8,
) -> Posterior:
    """q(params) = N(m, WWᵀ + D) maximising the ELBO, W [P, rank], D diagonal (Ong, Nott & Smith 2018).

    P · (rank + 2) numbers instead of full-rank's P²/2, so that it serves nets of 10⁵ parameters. With rank ≥ P − 1 it
    holds every Gaussian: D = λ_min · 1 leaves a remainder of rank P − 1.

    Args:
        rank: columns of W.
        num_draws, num_steps, learning_rate, num_particles: as `mean_field`.

    Returns:
        As `mean_field`.

    >>> from functools import partial
    >>> from probjax import likelihoods, linear, priors
    >>> model = Model(*linear(3), prior=priors.normal(), likelihood=likelihoods.normal(1.0))
    >>> data = Data(jnp.ones((4, 3)), jnp.ones(4))
    >>> run = jax.jit(partial(low_rank, rank=1, num_steps=16, num_draws=5))
    >>> run(jax.random.key(0), model, data).draws["weight"].shape
    (5, 3)
    """
    require_counts("low_rank", rank=(rank, 1))
    guide = lambda program, start: AutoLowRankMultivariateNormal(program, rank=rank, **_at_zero(start))
    family = Family("low_rank", guide, _draw_low_rank)
    settings = (num_draws, num_steps, learning_rate, num_particles)
    return maximise_elbo(key, model, data, family, diagonal_whitening, *settings)


def _at_zero(start):
    return {"init_loc_fn": init_to_value(values={"u": jnp.zeros_like(start)}), "init_scale": 0.7}


def _draw_independent(key, guide, params, num_draws):
    u = guide.sample_posterior(key, params, sample_shape=(num_draws,))["u"]
    scale = params["u_auto_scale"]
    z = (u - params["u_auto_loc"]) / scale
    return u, -0.5 * jnp.sum(z * z, axis=1) - jnp.sum(jnp.log(scale)) - 0.5 * u.shape[1] * jnp.log(2 * jnp.pi)


def _draw_full(key, guide, params, num_draws):
    u = guide.sample_posterior(key, params, sample_shape=(num_draws,))["u"]
    posterior = guide.get_posterior(params)
    z = jax.scipy.linalg.solve_triangular(posterior.scale_tril, (u - posterior.loc).T, lower=True).T
    log_det = jnp.sum(jnp.log(jnp.diag(posterior.scale_tril)))
    return u, -0.5 * jnp.sum(z * z, axis=1) - log_det - 0.5 * u.shape[1] * jnp.log(2 * jnp.pi)


def _draw_low_rank(key, guide, params, num_draws):
    posterior = guide.get_posterior(params)
    u = posterior.sample(key, (num_draws,))
    return u, posterior.log_prob(u)
