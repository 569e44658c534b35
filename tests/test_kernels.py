"""One step from exact draws: right kernels keep the posterior and move, broken ones are told apart from them."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.infer import HMC, NUTS
from scipy import stats

from verification.checks.power import power_curve, smallest_effect
from verification.exact.reference import gaussian_reference
from verification.kernels import _crossings, examine_kernel
from verification.work import build_problem

NUM = 60_000
SCALES = jnp.array([1.0, 0.5])
LOC, SHAPE = jnp.array([0.3, -1.0]), 3.0


def log_density(state):
    """A log-gamma, which is skewed, and beside it a Gaussian whose mean follows it."""
    u, v = state
    return SHAPE * u - jnp.exp(u) - 0.5 * ((v - 0.5 * u) / 0.5) ** 2


def exact_states(rng, num=NUM):
    u = np.log(rng.gamma(SHAPE, size=num))
    return np.column_stack([u, 0.5 * u + 0.5 * rng.standard_normal(num)])


@pytest.fixture(scope="module")
def reference():
    """Quantiles of two million draws: crossings may be counted at any threshold, exact ones only share them out."""
    draws = exact_states(np.random.default_rng(99), 2_000_000)
    made = gaussian_reference(("u", "v"), draws.mean(0), np.cov(draws.T))
    return made._replace(quantiles=np.quantile(draws, (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99), axis=0))


def metropolis(key, state, proposal, log_ratio):
    accept = jnp.log(jax.random.uniform(key)) < log_ratio
    return jnp.where(accept, proposal, state)


def random_walk(key, state, accept=True):
    step_key, accept_key = jax.random.split(key)
    proposal = state + 0.7 * SCALES * jax.random.normal(step_key, (2,))
    return metropolis(accept_key, state, proposal, log_density(proposal) - log_density(state) if accept else jnp.inf)


def multiplicative(key, state, jacobian=True):
    """u ← u·factor, which stretches: the ratio of the proposals' densities is |factor|."""
    step_key, accept_key = jax.random.split(key)
    factor = jnp.exp(0.5 * jax.random.normal(step_key))
    proposal = state * jnp.array([factor, 1.0])
    log_ratio = log_density(proposal) - log_density(state) + (jnp.log(factor) if jacobian else 0.0)
    moved = metropolis(accept_key, state, proposal, log_ratio)
    return random_walk(jax.random.fold_in(key, 1), moved)


def langevin(key, state, accept=True, asymmetry=True, size=0.5):
    step_key, accept_key = jax.random.split(key)
    drift = lambda s: s + 0.5 * size**2 * SCALES**2 * jax.grad(log_density)(s)
    proposal = drift(state) + size * SCALES * jax.random.normal(step_key, (2,))
    log_q = lambda to, at: -0.5 * jnp.sum(((to - drift(at)) / (size * SCALES)) ** 2)
    log_ratio = log_density(proposal) - log_density(state)
    if asymmetry:
        log_ratio += log_q(state, proposal) - log_q(proposal, state)
    return metropolis(accept_key, state, proposal, log_ratio if accept else jnp.inf)


def hamiltonian(key, state, accept=True, refresh=True, stale_gradient=False, steps=5, size=0.4):
    step_key, accept_key = jax.random.split(key if refresh else jax.random.key(7))
    start = momentum = jax.random.normal(step_key, (2,))
    position, gradient = state, jax.grad(log_density)
    at_start = gradient(state)
    for _ in range(steps):
        momentum = momentum + 0.5 * size * SCALES * gradient(position)
        position = position + size * SCALES * momentum
        # a stale gradient is the one cached when the trajectory began
        momentum = momentum + 0.5 * size * SCALES * (at_start if stale_gradient else gradient(position))
    energy = lambda s, p: -log_density(s) + 0.5 * p @ p
    accept_key = accept_key if refresh else jax.random.fold_in(key, 0)
    return metropolis(
        accept_key, state, position, energy(state, start) - energy(position, momentum) if accept else jnp.inf
    )


def report(kernel, reference, seed=0, num=NUM, **settings):
    states = exact_states(np.random.default_rng(seed), num)
    return examine_kernel(kernel, jax.random.key(seed), states, lambda s: s, reference, **settings)


RIGHT = {"random walk": random_walk, "langevin": langevin, "hamiltonian": hamiltonian, "stretch": multiplicative}


@pytest.mark.parametrize("kernel", RIGHT.values(), ids=RIGHT)
def test_right_kernels_keep_the_posterior_and_move(kernel, reference):
    found = report(kernel, reference)
    assert found.invariant and found.moves and found.reason == ""
    assert np.all(found.jump > 0.05)


BROKEN = {
    "random walk without an accept step": partial(random_walk, accept=False),
    "langevin without an accept step": partial(langevin, accept=False),
    "langevin, asymmetry ignored": partial(langevin, asymmetry=False),
    "stretch without its Jacobian": partial(multiplicative, jacobian=False),
    "hamiltonian without an accept step": partial(hamiltonian, accept=False),
    "momentum never refreshed": partial(hamiltonian, refresh=False),
    "stale gradient": partial(hamiltonian, stale_gradient=True),
}


@pytest.mark.parametrize("kernel", BROKEN.values(), ids=BROKEN)
def test_broken_kernels_are_seen_to_leave_the_posterior(kernel, reference):
    found = report(kernel, reference)
    assert not found.invariant and found.reason.startswith("not invariant: P(")


def test_a_kernel_that_stays_is_invariant_but_does_not_move(reference):
    for kernel in (
        lambda key, state: state,
        lambda key, state: random_walk(key, state) * jnp.array([0, 1]) + state * jnp.array([1, 0]),
    ):
        found = report(kernel, reference)
        assert not found.moves
    found = report(lambda key, state: state, reference)
    assert found.invariant and found.reason.startswith("does not move: u jumps by 0")


def test_a_kernel_that_diverges_says_so(reference):
    found = report(lambda key, state: state / 0.0, reference, num=100)
    assert not found.invariant and not found.moves and found.reason == "a state is NaN or infinite after the step"


@pytest.mark.parametrize("kind", [HMC, NUTS])
def test_numpyros_kernels_are_right(kind, reference):
    sampler = kind(
        potential_fn=lambda s: -log_density(s), step_size=0.4, adapt_step_size=False, adapt_mass_matrix=False
    )

    def kernel(key, state):
        first = sampler.init(key, 0, init_params=state, model_args=(), model_kwargs={})
        return sampler.sample(first, (), {}).z

    found = report(kernel, reference, num=10_000)
    assert found.reason == "" and np.all(found.jump > 0.3)


def test_an_exact_problem_can_be_used_as_it_is():
    problem = build_problem("linear", None)
    mean, precision = problem.linear.posterior
    root = np.linalg.cholesky(np.linalg.inv(precision))

    def fresh(key, params):
        w = mean + root @ jax.random.normal(key, mean.shape)
        return {"weight": w[:-1], "bias": w[-1]}

    states = problem.exact_draws(np.random.default_rng(0), 5000)
    found = examine_kernel(fresh, jax.random.key(0), states, problem.query, problem.reference)
    assert found.reason == "" and np.all(np.abs(found.jump - 2) < 0.3)
    with pytest.raises(ValueError, match=r"reference\.quantiles is None"):
        examine_kernel(fresh, jax.random.key(0), states, problem.query, problem.reference._replace(quantiles=None))
    with pytest.raises(ValueError, match="query gives 2 numbers but reference names 9"):
        examine_kernel(fresh, jax.random.key(0), states, lambda p: p["weight"], problem.reference)


def test_p_values_of_an_invariant_kernel_are_no_smaller_than_uniform():
    """Autoregressive steps of a Gaussian, 4000 runs at 9 thresholds: P(p ≤ α) ≤ α at every α."""
    rng, thresholds = np.random.default_rng(0), stats.norm.ppf([0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99])
    before = rng.standard_normal((400, 4000))
    after = 0.8 * before + 0.6 * rng.standard_normal(before.shape)
    p = np.array([_crossings(before, after, q)[1] for q in thresholds])
    for alpha in (0.1, 0.01, 0.001):
        beyond = (p <= alpha).sum(1)
        assert np.all(stats.binom.sf(beyond - 1, 4000, alpha) > 1e-6), (alpha, beyond)


def test_how_small_a_bias_of_one_step_is_found():
    """x ← ρx + √(1 − ρ²) ξ + δ with ρ = 0.99 and S = 50,000: false alarms 0 of 100, power ≥ 0.99 from δ = 0.02 sd. The
    band of Dvoretzky, Kiefer & Wolfowitz around the exact distribution function, at the same false-alarm rate, hardly
    ever sees that."""
    levels, rng, num = np.array([0.05, 0.25, 0.5, 0.75, 0.95]), np.random.default_rng(1), 50_000
    thresholds, band = stats.norm.ppf(levels), np.sqrt(np.log(2 / 1e-6) / (2 * num))
    seen_by_band = []

    def alarm(rng, shift):
        before = rng.standard_normal((num, 1))
        after = 0.99 * before + np.sqrt(1 - 0.99**2) * rng.standard_normal((num, 1)) + shift
        seen_by_band.append(np.abs((after <= thresholds).mean(0) - levels).max() > band)
        return min(_crossings(before, after, q)[1][0] for q in thresholds) * len(thresholds) < 1e-6

    power = power_curve(alarm, [0.0, 0.02], runs=100, rng=rng)
    assert power[0] == 0 and smallest_effect([0.0, 0.02], power) == 0.02, power
    assert np.mean(seen_by_band[100:]) < 0.2
