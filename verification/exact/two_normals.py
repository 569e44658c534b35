"""A mixture of two normals with unknown means, sds and weight, solved on a grid over its five parameters.

The components are far apart, so that the posterior, near one of its two labellings, is close to a Gaussian whose axes
are nearly the parameters: no whitening is needed, the densities of either component come from tables over its own two
parameters, and marginals lie along the axes.
"""

from __future__ import annotations

import itertools

import numpy as np
from scipy import optimize
from scipy.special import expit, log_expit, logsumexp

from verification.exact.parameter_grid import edge_weight, grid_reference
from verification.exact.quadrature import mode_and_factor
from verification.exact.reference import Certificate, Reference, correlation, difference_in_sd

SMALL, TERMS = 0.01, 6  # of the series of log(1 + x): x⁷/7 is below 2e-15 where x < SMALL
NAMES = ("mu[1]", "mu[2]", "sigma[1]", "sigma[2]", "theta")


def _log_normal(y, mu, u):
    return -0.5 * ((y - mu) / np.exp(u)) ** 2 - u - 0.5 * np.log(2 * np.pi)


def log_prior(mu1, mu2, u1, u2, v):
    """Normal(0, 2²) means in increasing order, half-normal(2) sds, Beta(5, 5) weight of the first; the density of
    (μ₁, μ₂, log σ₁, log σ₂, logit θ), normalised."""
    means = -0.25 * (mu1**2 + mu2**2) / 2 - np.log(2 * np.pi * 4) + np.log(2)
    sds = np.log(2 / np.pi) - 2 * np.log(2) - np.exp(2 * u1) / 8 - np.exp(2 * u2) / 8 + u1 + u2
    return means + sds + np.log(630) + 5 * (log_expit(v) + log_expit(-v))  # 1 / B(5, 5) = 630


def log_joint(y, parameters) -> np.ndarray:
    """log p(y, parameters) for [M, 5], in the order and coordinates of `log_prior`."""
    mu1, mu2, u1, u2, v = parameters.T[:, :, None]
    both = np.logaddexp(log_expit(v) + _log_normal(y, mu1, u1), log_expit(-v) + _log_normal(y, mu2, u2))
    return both.sum(1) + log_prior(*parameters.T)


def _log_joint_on_grid(y, axes) -> np.ndarray:
    """[n, n, n, n, n]. A datum's likelihood is its nearer component's times 1 + ratio · odds, where the ratio of the
    densities is a table of (μ₁, log σ₁) times a table of (μ₂, log σ₂)."""
    n = len(axes[0])
    m1, m2, u1, u2, v = axes
    first = _log_normal(y, m1[:, None, None], u1[:, None]).reshape(n * n, -1)  # [(μ₁, log σ₁), N]
    second = _log_normal(y, m2[:, None, None], u2[:, None]).reshape(n * n, -1)
    nearer = first[len(first) // 2] > second[len(second) // 2]
    total = first[:, None, nearer].sum(2) + second[:, ~nearer].sum(1)
    total = total[..., None] + nearer.sum() * log_expit(v) + (~nearer).sum() * log_expit(-v)
    for near, sign in ((nearer, -1), (~nearer, 1)):  # odds of the farther component: e^{−v} or e^{v}
        a, b = np.exp(sign * first[:, near]), np.exp(-sign * second[:, near])
        total += _sum_log1p(a, b, np.exp(sign * v))
    total = total.reshape(n, n, n, n, n).transpose(0, 2, 1, 3, 4)
    return total + log_prior(*np.meshgrid(*axes, indexing="ij", sparse=True))


def _sum_log1p(a, b, odds) -> np.ndarray:
    """Σₙ log(1 + aᵢₙ bⱼₙ oₖ), [I, J, K]: by its series, sums of powers being matrix products, for data whose terms are
    all small; one logarithm for all the rest of a (j, k), whose product does not overflow."""
    small = a.max(0) * b.max(0) * odds.max() < SMALL
    total = sum(
        (-1) ** (k + 1) / k * (a[:, small] ** k @ b[:, small].T ** k)[..., None] * odds**k for k in range(1, TERMS + 1)
    )
    a, b = a[:, ~small].T[..., None], np.ascontiguousarray(b[:, ~small].T)  # [N, I, 1], [N, J]
    for i in range(a.shape[1]):
        ratio = a[:, i] * b
        for k, odd in enumerate(odds):
            total[i, :, k] += np.log(np.multiply.reduce(1 + odd * ratio, axis=0))
    return total


def _solve(y, mode, sd, nodes, half_width) -> tuple[Reference, float]:
    axes = [m + s * np.linspace(-half_width, half_width, nodes) for m, s in zip(mode, sd)]
    values = _log_joint_on_grid(y, axes)
    identity = lambda x: x
    reference = grid_reference(NAMES, axes, values, (identity, identity, np.exp, np.exp, expit))
    return reference, edge_weight(values)


def _gauss_hermite(y, mode, factor, nodes) -> Reference:
    """Means, sds, correlations and evidence by another rule, in whitened coordinates, of the plain density."""
    points, rule = np.polynomial.hermite_e.hermegauss(nodes)
    z = np.array(list(itertools.product(points, repeat=5)))
    log_rule = np.log(np.array(list(itertools.product(rule, repeat=5)))).sum(1) + 0.5 * (z**2).sum(1)
    parameters = mode + z @ factor.T
    blocks = np.array_split(parameters, max(1, len(z) // 2000))
    log_weights = np.concatenate([log_joint(y, block) for block in blocks]) + log_rule
    total = logsumexp(log_weights)
    weights = np.exp(log_weights - total)
    values = np.column_stack([parameters[:, :2], np.exp(parameters[:, 2:4]), expit(parameters[:, 4])])
    mean = weights @ values
    covariance = (values - mean).T @ (weights[:, None] * (values - mean))
    evidence = float(total + np.linalg.slogdet(factor)[1])
    return Reference(
        NAMES, mean, np.sqrt(np.diag(covariance)), None, None, correlation(covariance), None, 0, evidence, None
    )


def two_normals(y, *, nodes=19, half_width=7.2, hermite=9) -> Reference:
    """yₙ ~ θ N(μ₁, σ₁²) + (1 − θ) N(μ₂, σ₂²), μ₁ < μ₂, with the priors of `log_prior`. Queries: μ, σ, θ.

    Raises:
        ValueError: the components are not far enough apart for the two labellings to be separate modes.
    """
    y = np.sort(np.asarray(y, float))
    density = lambda parameters: log_joint(y, parameters)
    low, high = np.quantile(y, [0.25, 0.75])
    start = optimize.minimize(
        lambda p: -density(p[None])[0], [low, high, 0.0, 0.0, 0.0], method="Nelder-Mead", options={"maxiter": 4000}
    ).x
    mode, factor = mode_and_factor(density, start)
    sd = np.sqrt(np.diag(factor @ factor.T))
    if mode[1] - mode[0] < 2 * half_width * (sd[0] + sd[1]):
        raise ValueError(
            f"the means {mode[0]:.3g} and {mode[1]:.3g} have sds {sd[0]:.2g} and {sd[1]:.2g}: too close for a grid "
            "around one labelling; needed are components far apart"
        )
    fine, edge = _solve(y, mode, sd, nodes, half_width)
    coarse, _ = _solve(y, mode, sd, nodes - 4, half_width - 0.4)
    agreement = difference_in_sd(fine, _gauss_hermite(y, mode, factor, hermite))
    found = f"trapezoid over 5 parameters, {nodes} nodes each, against {nodes - 4} on a smaller box; edge {edge:.0e}"
    second = f"Gauss–Hermite, {hermite} nodes a whitened dimension (means, sds, correlations)"
    gap = max(difference_in_sd(fine, coarse), edge)
    return fine._replace(certificate=Certificate(gap, found, second, agreement))
