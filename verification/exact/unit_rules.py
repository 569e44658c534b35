"""Rules over the (w, b) plane of one hidden unit under its Gaussian prior.

tanh: trapezoid or Gauss–Legendre on a half-plane, as (w, b, a) and (−w, −b, −a) are one function. ReLU is homogeneous:
in polar coordinates the radius is smooth and the angle has kinks only where a row's preactivation changes sign, so a
Gauss–Legendre panel between kinks converges geometrically.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from verification.exact.network_units import Rule, Units, log_prior

RADIUS = 6.5  # in prior sd: exp(−6.5²/2), 7e-10, of the plane lies beyond


def half_plane(net: Units, nodes: int, kind: str = "trapezoid") -> Rule:
    """`nodes` an axis on b and as dense on w ≥ 0; nodes beyond RADIUS are left out."""
    if kind == "trapezoid":
        axis, step = np.linspace(-RADIUS, RADIUS, nodes | 1, retstep=True)  # odd, so that 0 is a node
        weights = np.full(len(axis), step)
        w, w_weights = axis[len(axis) // 2 :], weights[len(axis) // 2 :].copy()
        w_weights[0] /= 2
    else:
        axis, weights = (RADIUS * v for v in np.polynomial.legendre.leggauss(nodes))
        w, w_weights = (RADIUS / 2 * v for v in np.polynomial.legendre.leggauss(nodes // 2 + 8))
        w = w + RADIUS / 2
    hidden = np.stack(np.meshgrid(w, axis, indexing="ij"), -1).reshape(-1, 2)
    keep = (hidden**2).sum(1) < RADIUS**2
    scales = np.array(net.scales[:2])
    log_weights = np.log(2 * np.outer(w_weights, weights)).ravel() + np.log(scales.prod())
    hidden = hidden[keep] * scales
    return Rule(hidden, log_weights[keep] + log_prior(net, hidden))


def polar(net: Units, kinks, per_panel: int, radial: int) -> Rule:
    """Gauss–Legendre in the radius on [0, RADIUS] and in the angle between the angles at which wx + b = 0 for an x of
    `kinks`."""
    w_scale, b_scale = net.scales[:2]
    angles = np.arctan2(-w_scale * np.asarray(kinks, float), b_scale) % np.pi
    edges = np.unique(np.concatenate([angles, angles + np.pi]))
    edges = np.append(edges, edges[0] + 2 * np.pi)
    angle, angle_weights = _panels(edges, per_panel)
    nodes, weights = np.polynomial.legendre.leggauss(radial)
    r, r_weights = RADIUS / 2 * (1 + nodes), RADIUS / 2 * weights
    hidden = np.stack([w_scale * np.outer(r, np.cos(angle)), b_scale * np.outer(r, np.sin(angle))], -1).reshape(-1, 2)
    area = np.log(np.outer(r_weights * r, angle_weights)).ravel() + np.log(w_scale * b_scale)
    return Rule(hidden, area + log_prior(net, hidden))


def half_circle(net: Units, radial: int, angular: int, kind: str = "legendre") -> Rule:
    """For tanh: the angle by a trapezoid rule on its period π, as many nodes as the radius asks for; the radius by
    Gauss–Legendre, which crowds at 0, where the output weight is freed from the data; or ("trapezoid") in its
    logarithm."""
    nodes, weights = np.polynomial.legendre.leggauss(radial)
    r, r_weights = RADIUS / 2 * (1 + nodes), RADIUS / 2 * weights
    if kind == "trapezoid":
        u, step = np.linspace(np.log(RADIUS) - 12.0, np.log(RADIUS), radial, retstep=True)
        r, r_weights = np.exp(u), step * np.exp(u)
    w_scale, b_scale = net.scales[:2]
    hidden, log_weights = [], []
    for k in range(radial):
        num = int(np.ceil(angular * min(1.0, 0.3 + 0.7 * r[k] / 4)))
        angle = np.pi * (np.arange(num) + 0.5 * (k % 2)) / num
        hidden.append(r[k] * np.column_stack([w_scale * np.cos(angle), b_scale * np.sin(angle)]))
        log_weights.append(np.full(num, np.log(2 * np.pi / num * r_weights[k] * r[k] * w_scale * b_scale)))
    hidden = np.concatenate(hidden)
    return Rule(hidden, np.concatenate(log_weights) + log_prior(net, hidden))


def lines(net: Units, kinks, per_panel: int, across: int) -> Rule:
    """Gauss–Legendre in w on either side of 0 and, at each w, in b between the kinks −wx: no polar coordinates."""
    w_scale, b_scale = net.scales[:2]
    half, half_weights = (RADIUS / 2 * v for v in np.polynomial.legendre.leggauss(across))
    hidden, log_weights = [], []
    for w, w_weight in zip(np.concatenate([half + RADIUS / 2, -half - RADIUS / 2]), np.tile(half_weights, 2)):
        inner = -w * w_scale * np.asarray(kinks, float) / b_scale
        edges = np.concatenate([np.linspace(-RADIUS, RADIUS, 5), inner[np.abs(inner) < RADIUS]])
        b, b_weights = _panels(np.unique(edges), per_panel, graded=True)
        hidden.append(np.column_stack([np.full(len(b), w * w_scale), b * b_scale]))
        log_weights.append(np.log(w_weight * b_weights * w_scale * b_scale))
    hidden = np.concatenate(hidden)
    return Rule(hidden, np.concatenate(log_weights) + log_prior(net, hidden))


def _panels(edges, per_panel, graded=False):
    """`per_panel` nodes for a panel of width 1; where `graded`, fewer on narrower ones and more on wider ones."""
    nodes, weights = [], []
    for low, high in pairwise(edges):
        num = int(np.clip(np.ceil(per_panel * (high - low) ** 0.4), 2, None)) if graded else per_panel
        z, w = np.polynomial.legendre.leggauss(num)
        nodes.append((low + high) / 2 + (high - low) / 2 * z)
        weights.append((high - low) / 2 * w)
    return np.concatenate(nodes), np.concatenate(weights)
