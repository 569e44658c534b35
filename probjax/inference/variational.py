"""Stochastic variational inference with NumPyro's guides over the flattened parameters; `mean_field` and `full_rank`
differ by guide.

The optimiser works in coordinates whitened at the mode. Both families are closed under the maps used (a rescaling of
each coordinate for mean-field, any linear map for full-rank), so the optimum is the same distribution; only the path is
shorter.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpyro
import optax
from jax import Array
from jax.flatten_util import ravel_pytree
from numpyro.distributions import ImproperUniform, constraints
from numpyro.infer import SVI, Trace_ELBO
from numpyro.infer.autoguide import AutoMultivariateNormal, AutoNormal
from numpyro.infer.initialization import init_to_value

from probjax.density import target
from probjax.optimize import lbfgs
from probjax.types import Data, Model, Posterior, Target
from probjax.validation import check_inputs, require_counts, require_positive

MAX_WHITENED = 1000  # parameters up to which the Hessian at the mode is worth its cost


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
    settings = (num_draws, num_steps, learning_rate, num_particles)
    return _svi(key, model, data, AutoNormal, _diagonal_whitening, *settings)


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
    """
    settings = (num_draws, num_steps, learning_rate, num_particles)
    return _svi(key, model, data, AutoMultivariateNormal, _full_whitening, *settings)


def _svi(key, model, data, guide_class, whitening, num_draws, num_steps, learning_rate, num_particles) -> Posterior:
    check_inputs(model, data)
    where = "mean_field" if guide_class is AutoNormal else "full_rank"
    require_counts(where, num_draws=(num_draws, 1), num_steps=(num_steps, 16), num_particles=(num_particles, 1))
    require_positive(where, "learning_rate", learning_rate, "0.02 is the default")
    init_key, svi_key, draw_key = jax.random.split(key, 3)
    density = target(model)
    start, unravel = ravel_pytree(density.init(init_key))
    log_joint = lambda w: density.log_joint(unravel(w), data)
    origin, scale = whitening(log_joint, start)
    log_joint_white = lambda u: log_joint(origin + scale @ u if scale.ndim == 2 else origin + scale * u)

    def program():
        u = numpyro.sample("u", ImproperUniform(constraints.real_vector, (), (start.size,)))
        numpyro.factor("log_joint", log_joint_white(u))

    guide = guide_class(program, init_loc_fn=init_to_value(values={"u": jnp.zeros_like(start)}), init_scale=0.7)
    optimiser = optax.adam(optax.cosine_decay_schedule(learning_rate, num_steps))
    svi = SVI(program, guide, optimiser, Trace_ELBO(num_particles=num_particles))
    params, losses = _optimise(svi, svi_key, num_steps)
    u = guide.sample_posterior(draw_key, params, sample_shape=(num_draws,))["u"]
    draws = origin + (u @ scale.T if scale.ndim == 2 else u * scale)
    log_det = _log_abs_det(scale)  # of the map from u to params: the ELBO and q are reported for params
    info = {**_elbo_report(log_det - losses), "log_q": _log_q(guide, params, u) - log_det}
    return Posterior(jax.vmap(unravel)(draws), info)


def _optimise(svi, key, num_steps):
    """SVI's own update under our scan; the unconstrained guide parameters of the last quarter are averaged."""
    state = svi.init(key)

    def step(carry, index):
        state, total = carry
        state, loss = svi.update(state)
        flat = ravel_pytree(svi.optim.get_params(state.optim_state))[0]
        return (state, total + jnp.where(index >= num_steps - num_steps // 4, flat, 0.0)), loss

    flat, unravel = ravel_pytree(svi.optim.get_params(state.optim_state))
    (state, total), losses = jax.lax.scan(step, (state, jnp.zeros_like(flat)), jnp.arange(num_steps))
    return svi.constrain_fn(unravel(total / (num_steps // 4))), losses


def _log_q(guide, params, u):
    loc, covariance_factor = _gaussian_of(guide, params)
    z = jax.scipy.linalg.solve_triangular(covariance_factor, (u - loc).T, lower=True).T
    log_det = jnp.sum(jnp.log(jnp.diag(covariance_factor)))
    return -0.5 * jnp.sum(z * z, axis=1) - log_det - 0.5 * u.shape[1] * jnp.log(2 * jnp.pi)


def _gaussian_of(guide, params):
    if isinstance(guide, AutoMultivariateNormal):
        posterior = guide.get_posterior(params)
        return posterior.loc, posterior.scale_tril
    return params["u_auto_loc"], jnp.diag(params["u_auto_scale"])


def _log_abs_det(scale):
    return jnp.sum(jnp.log(scale)) if scale.ndim == 1 else jnp.linalg.slogdet(scale)[1]


def _curvature(log_joint, start):
    """The mode and −∇² log p there: they only set coordinates, never the answer."""
    mode, _ = lbfgs(lambda w: -log_joint(w), start)
    return mode, -jax.hessian(log_joint)(mode)


def _positive(curvature):
    size = jnp.abs(curvature)
    return jnp.maximum(size, 1e-8 * jnp.max(size))


def _diagonal_whitening(log_joint, start):
    if start.size > MAX_WHITENED:
        return start, jnp.ones_like(start)
    mode, hessian = _curvature(log_joint, start)
    return mode, 1 / jnp.sqrt(_positive(jnp.diag(hessian)))


def _full_whitening(log_joint, start):
    if start.size > MAX_WHITENED:
        return start, jnp.ones_like(start)
    mode, hessian = _curvature(log_joint, start)
    eigenvalues, vectors = jnp.linalg.eigh(hessian)
    return mode, vectors / jnp.sqrt(_positive(eigenvalues))


def _elbo_report(elbo):
    eighth = elbo.shape[0] // 8
    before, last = elbo[-2 * eighth : -eighth], elbo[-eighth:]
    drift = jnp.mean(last) - jnp.mean(before)
    error = jnp.sqrt((jnp.var(last, ddof=1) + jnp.var(before, ddof=1)) / eighth)
    return {
        "elbo": jnp.mean(elbo[-2 * eighth :]),
        "elbo_drift": drift,
        "elbo_drift_se": error,
        "converged": jnp.abs(drift) <= 4 * error + 0.01,
    }
