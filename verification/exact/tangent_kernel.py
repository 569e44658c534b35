"""What an ensemble of infinitely wide networks, each trained to convergence from a random start, predicts.

In the tangent parametrisation, weights weight_sd/√n · u and biases bias_sd · b with every u, b ~ N(0, 1), a network
under gradient flow on ½ Σ (y − f)² stays, as its width n grows, linear in its parameters about its start. Then
Θ(x, x′) = ∂f(x)/∂params · ∂f(x′)/∂params is a constant (Jacot, Gabriel & Hongler 2018) and the members' law Gaussian
(Lee et al. 2019 §2.3; He, Lakshminarayanan & Teh 2020 §2). It is the posterior of the Gaussian process whose kernel K
the starts have only where Θ is K: where the last layer alone is trained (Matthews et al. 2017).
"""

from __future__ import annotations

import numpy as np

from verification.exact.infinite_width import InfiniteNetwork, expected_product, nngp_kernel

EVERY_LAYER, LAST_LAYER = "every layer", "last layer"
SINGULAR = 1e-13  # of the largest eigenvalue: below it the smallest is rounding


def tangent_kernel(x, x2, weight_sd: float, bias_sd: float, depth: int, activation: str) -> np.ndarray:
    """Θ of an infinitely wide network with `depth` hidden layers: [N, D], [M, D] -> [N, M].

    Θ ← K + weight_sd² E[φ′(u)φ′(v)] Θ, (u, v) ~ N(0, K of the layer below), from Θ = K at the first layer (Jacot et al.
    2018 theorem 1); K is `nngp_kernel`'s.

    Raises:
        ValueError: as `nngp_kernel`.
    """
    nngp_kernel(x, x2, weight_sd, bias_sd, depth, activation)  # refuses what is no network
    x, x2 = np.asarray(x, float), np.asarray(x2, float)
    layer = lambda expectation: bias_sd**2 + weight_sd**2 * expectation
    across = tangent = layer(x @ x2.T / x.shape[1])
    left, right = (layer((v**2).mean(1)) for v in (x, x2))
    for _ in range(depth):
        slopes = expected_slopes(across, left[:, None], right, activation)
        across = layer(expected_product(across, left[:, None], right, activation))
        tangent = across + weight_sd**2 * slopes * tangent
        left, right = (layer(expected_product(k, k, k, activation)) for k in (left, right))
    return tangent


def expected_slopes(k12, k11, k22, activation: str) -> np.ndarray:
    """E[φ′(u)φ′(v)] for (u, v) ~ N(0, [[k₁₁, k₁₂], [k₁₂, k₂₂]]).

    ReLU: (π − θ)/2π, cos θ = k₁₂/√(k₁₁k₂₂) (Cho & Saul 2009, order 0); erf: 4/π / √((1 + 2k₁₁)(1 + 2k₂₂) − 4k₁₂²).
    """
    if activation == "erf":
        return 4 / np.pi / np.sqrt((1 + 2 * k11) * (1 + 2 * k22) - 4 * k12**2)
    return (np.pi - np.arccos(np.clip(k12 / np.sqrt(k11 * k22), -1, 1))) / (2 * np.pi)


def members_law(
    net: InfiniteNetwork,
    points,
    *,
    trained: str = EVERY_LAYER,
    time: float = np.inf,
    ridge: float = 0.0,
    target_noise: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean [P] and covariance [P, P] over members of f at `points` [P, D].

    A member is f₀(x) + G (y + ε − f₀(X)), f₀ ~ N(0, K) its start and ε ~ N(0, target_noise) its own:

        G = Θ(x, X) A⁻¹ (1 − exp(−time A)),  A = Θ(X, X) + ridge,
        mean G y,  covariance K(x, x′) − G K(X, x′) − K(x, X) Gᵀ + G (K(X, X) + target_noise) Gᵀ.

    Args:
        net: the rows and the network; its noise_variance plays no part.
        trained: EVERY_LAYER, or LAST_LAYER (then Θ is K).
        time: of the gradient flow on ½ Σ (y + ε − f)² + ½ ridge ‖params − start‖².
        ridge: draws each member to its own start.
        target_noise: variance of ε; with ridge the same, and LAST_LAYER, the law is the posterior at that noise.

    Raises:
        ValueError: another `trained`; a negative time, ridge or target_noise, or NaN.
        ArithmeticError: A is singular and the flow never stops: two rows are equal, or nearly.
    """
    for name, value in (("time", time), ("ridge", ridge), ("target_noise", target_noise)):
        if not value >= 0:
            raise ValueError(f"members_law: {name} is {value} but must be at least 0")
    if trained not in (EVERY_LAYER, LAST_LAYER):
        raise ValueError(f"members_law: trained is {trained!r} but must be {EVERY_LAYER!r} or {LAST_LAYER!r}")
    scales = (net.weight_sd, net.bias_sd, net.depth, net.activation)
    prior = lambda a, b: nngp_kernel(a, b, *scales)
    tangent = prior if trained == LAST_LAYER else lambda a, b: tangent_kernel(a, b, *scales)
    gain = flow(tangent(net.x, net.x) + ridge * np.eye(len(net.x)), tangent(net.x, points), time).T
    half = prior(points, net.x) @ gain.T
    start = gain @ (prior(net.x, net.x) + target_noise * np.eye(len(net.x))) @ gain.T
    return gain @ net.y, prior(points, points) - half - half.T + start


def flow(matrix, right, time: float = np.inf) -> np.ndarray:
    """matrix⁻¹ (1 − exp(−time matrix)) right, for a symmetric positive definite matrix: where u′ = right − matrix u,
    u(0) = 0, is at that time.

    Raises:
        ArithmeticError: the matrix is singular to rounding and the time infinite.
    """
    values, vectors = np.linalg.eigh(matrix)
    if np.isinf(time):
        if not values[0] > SINGULAR * values[-1]:
            raise ArithmeticError(
                f"the smallest eigenvalue of the kernel at the rows is {values[0]:.1e} of {values[-1]:.1e}: it has no "
                "inverse; take rows that differ, or a ridge above 0, or a finite time"
            )
        reached = 1 / values
    else:
        safe = np.maximum(values, np.finfo(float).tiny)  # -expm1(-t λ)/λ is t at λ = 0
        reached = np.where(values > np.finfo(float).tiny, -np.expm1(-time * safe) / safe, time)
    return vectors @ (reached[:, None] * (vectors.T @ right))
