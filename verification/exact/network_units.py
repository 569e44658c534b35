"""Networks of one hidden layer solved exactly, one or two units by quadrature: f(x) = Σₕ aₕ φ(wₕx + bₕ) + c, Gaussian
noise and priors.

Given the hidden weights the output weights are a Bayesian linear regression (Bishop 2006 §3.3), so the posterior is a
mixture of Gaussians over the hidden weights. The output bias c is integrated first: with Cov[y | hidden, a] =
s²I + τ_c²11ᵀ whitened, one number per pair of units, the inner product of their outputs, gives the weight of the pair,
so that all pairs of a 2-D rule of M nodes cost one M × M matrix product. Permuted units are the same function: pairs
i ≤ j are enough.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from verification.exact.mixture import Chunk, mixture_reference
from verification.exact.reference import Certificate, Reference, difference_in_sd

BLOCK = 1 << 21  # pairs held at once
FAINT = 24.0  # nats below the heaviest pair: millions of pairs left out weigh less than 1e-7 of the hundreds kept
ACTIVATIONS = {"tanh": np.tanh, "relu": lambda z: np.maximum(z, 0.0)}


class Units(NamedTuple):
    """The data and scales of a network. scales: prior sd of every (w, b, a) and of c; activation: tanh or relu."""

    x: np.ndarray
    y: np.ndarray
    noise_scale: float
    scales: tuple[float, float, float, float]
    num_units: int
    activation: str


class Rule(NamedTuple):
    """Nodes [M, 2] in the (w, b) plane of one unit and log weights [M], the prior density included; weights sum to
    1."""

    hidden: np.ndarray
    log_weights: np.ndarray


class Queries(NamedTuple):
    """Linear functions of f: probes [Q, P] of its values at x [P]; held-out rows (new_x, new_y)."""

    names: tuple[str, ...]
    probes: np.ndarray
    x: np.ndarray
    new_x: np.ndarray
    new_y: np.ndarray


def values_and_contrasts(x, contrasts, new_x, new_y, *, share: float = 1.0) -> Queries:
    """f at every x, and f(b) − share·f(a) for each pair (a, b) of `contrasts`, given as positions in x.

    Args:
        share: below 1 it leaves some of the output bias in. Pure contrasts have a sharp peak at 0, from units that are
            constant, which spoils their quantiles near 0.
    """
    x, factor = np.asarray(x, float), "" if share == 1 else f"{share:g} "
    names = [f"f({v:g})" for v in x] + [f"f({x[b]:g}) - {factor}f({x[a]:g})" for a, b in contrasts]
    eye = np.eye(len(x))
    probes = np.vstack([eye, *(eye[b] - share * eye[a] for a, b in contrasts)])
    return Queries(tuple(names), probes, x, np.asarray(new_x, float), np.asarray(new_y, float))


def hidden_layer(net: Units, hidden: np.ndarray, x: np.ndarray) -> np.ndarray:
    """φ(wx + b): [..., 2] and [N] -> [..., N]."""
    return ACTIVATIONS[net.activation](hidden[..., :1] * x + hidden[..., 1:])


def log_prior(net: Units, hidden: np.ndarray) -> np.ndarray:
    """log p(w, b) of single units: [..., 2] -> [...]."""
    w, b = net.scales[:2]
    return -0.5 * ((hidden / [w, b]) ** 2).sum(-1) - np.log(2 * np.pi * w * b)


def conditional(net: Units, hidden: np.ndarray):
    """For hidden weights [M, H, 2]: log p(y | hidden) [M], mean [M, H + 1] and covariance [M, H + 1, H + 1] of
    (a₁ … a_H, c)."""
    units, s2 = hidden_layer(net, hidden, net.x), net.noise_scale**2
    design = np.concatenate([units, np.ones_like(units[:, :1])], 1)  # [M, H + 1, N]
    prior = np.append(np.full(net.num_units, net.scales[2]), net.scales[3])
    precision = design @ design.transpose(0, 2, 1) / s2 + np.diag(prior**-2)
    covariance, cross = np.linalg.inv(precision), design @ net.y / s2
    mean = np.einsum("mij,mj->mi", covariance, cross)
    quadratic = (mean * cross).sum(1) - net.y @ net.y / s2
    log_det = np.linalg.slogdet(precision)[1] + 2 * np.log(prior).sum()
    return 0.5 * (quadratic - log_det - len(net.x) * np.log(2 * np.pi * s2)), mean, covariance


class _Outputs(NamedTuple):
    """A rule's units with c integrated out: whitened outputs [M, N], their precision and inner product with y [M],
    effects on the queries [M, Q], and the constant of log p(y | hidden)."""

    units: np.ndarray
    precision: np.ndarray
    cross: np.ndarray
    effects: np.ndarray
    constant: float


def _outputs(net: Units, hidden: np.ndarray, queries: Queries) -> _Outputs:
    num, s2, c2 = len(net.x), net.noise_scale**2, net.scales[3] ** 2
    shrink = (1 - np.sqrt(s2 / (s2 + num * c2))) / num
    whiten = lambda v: (v - shrink * v.sum(-1, keepdims=True)) / net.noise_scale
    raw, y = hidden_layer(net, hidden, net.x), whiten(net.y)
    units = whiten(raw)
    log_det = (num - 1) * np.log(s2) + np.log(s2 + num * c2)
    constant = -0.5 * (y @ y + log_det + num * np.log(2 * np.pi)) - net.num_units * np.log(net.scales[2])
    # c given a is N(κ Σ(yₙ − Σₕ aₕφₕₙ), ·): it takes κ Σφₕₙ back from what a unit adds to f
    effects = hidden_layer(net, hidden, queries.x) - _kappa(net) * raw.sum(1, keepdims=True)
    return _Outputs(units, (units**2).sum(1) + net.scales[2] ** -2, units @ y, effects @ queries.probes.T, constant)


def _kappa(net: Units) -> float:
    return net.scales[3] ** 2 / (net.noise_scale**2 + len(net.x) * net.scales[3] ** 2)


def _bias_part(net: Units, queries: Queries) -> tuple[np.ndarray, np.ndarray]:
    """What y and the noise of c give to the queries: offset [Q] and covariance [Q, Q]."""
    total = queries.probes.sum(1)
    return total * _kappa(net) * net.y.sum(), _kappa(net) * net.noise_scale**2 * np.outer(total, total)


def _with_new(net: Units, queries: Queries) -> Units:
    return net._replace(x=np.append(net.x, queries.new_x), y=np.append(net.y, queries.new_y))


def single_chunks(net: Units, rule: Rule, queries: Queries) -> Iterator[Chunk]:
    """The mixture of a one-unit network over a rule's nodes."""
    out, both = _outputs(net, rule.hidden, queries), _outputs(_with_new(net, queries), rule.hidden, queries)
    log_density = lambda o: o.constant + 0.5 * o.cross**2 / o.precision - 0.5 * np.log(o.precision)
    log_weights, (offset, noise) = log_density(out) + rule.log_weights, _bias_part(net, queries)
    keep = log_weights > log_weights.max() - FAINT - 10
    log_new, effects, variance = log_density(both) - log_density(out), out.effects[keep], 1 / out.precision[keep]
    means = effects * (out.cross[keep] * variance)[:, None] + offset
    within = lambda w: (effects * (w * variance)[:, None]).T @ effects + w.sum() * noise
    yield Chunk(
        log_weights[keep], means, np.sqrt(effects**2 * variance[:, None] + np.diag(noise)), within, log_new[keep]
    )


def pair_chunks(net: Units, rule: Rule, queries: Queries) -> Iterator[Chunk]:
    """The mixture of a two-unit network over all pairs of a rule's nodes, i ≤ j."""
    out, both = _outputs(net, rule.hidden, queries), _outputs(_with_new(net, queries), rule.hidden, queries)
    num, start, (offset, noise) = len(rule.hidden), 0, _bias_part(net, queries)
    coarse = slice(None, None, max(1, num // 1500))
    top = (_pair_density(out, coarse, coarse) + rule.log_weights[coarse] + rule.log_weights[coarse, None]).max()
    while start < num:
        rows, columns = slice(start, start + max(1, BLOCK // (num - start))), slice(start, None)
        log_density = _pair_density(out, rows, columns)
        log_weights = log_density + rule.log_weights[rows, None] + rule.log_weights[columns]
        i, j = np.nonzero(log_weights > top - FAINT)
        i, j = i[j >= i], j[j >= i]
        if len(i):
            log_new = _pair_density(both, rows, columns)[i, j] - log_density[i, j]
            twice = np.where(i == j, 0.0, np.log(2.0))
            yield _pair_chunk(out, i + start, j + start, log_weights[i, j] + twice, log_new, offset, noise)
        start = rows.stop


def _pair_density(out: _Outputs, rows, columns) -> np.ndarray:
    """log p(y | hidden) of pairs [I, J]: ½hᵀP⁻¹h − ½log|P| with P = [[pᵢ, g], [g, pⱼ]]."""
    inner = out.units[rows] @ out.units[columns].T
    p, q, h, k = out.precision[rows, None], out.precision[columns], out.cross[rows, None], out.cross[columns]
    det = p * q - inner**2
    inner *= h * k
    inner *= -2
    inner += q * h**2
    inner += p * k**2
    inner /= det
    inner -= np.log(det, out=det)
    inner *= 0.5
    inner += out.constant
    return inner


def _pair_chunk(out: _Outputs, i, j, log_weights, log_new, offset, noise) -> Chunk:
    left, right, p, q = out.effects[i], out.effects[j], out.precision[i], out.precision[j]
    inner = np.einsum("kn,kn->k", out.units[i], out.units[j])
    det = p * q - inner**2
    v_left, v_right, v_both = q / det, p / det, -inner / det
    m_left, m_right = v_left * out.cross[i] + v_both * out.cross[j], v_both * out.cross[i] + v_right * out.cross[j]
    means = left * m_left[:, None] + right * m_right[:, None] + offset
    spread_left = left * v_left[:, None] + right * v_both[:, None]
    spread_right = left * v_both[:, None] + right * v_right[:, None]
    sds = np.sqrt(spread_left * left + spread_right * right + np.diag(noise))
    within = lambda w: spread_left.T @ (w[:, None] * left) + spread_right.T @ (w[:, None] * right) + w.sum() * noise
    return Chunk(log_weights, means, sds, within, log_new)


def chunks(net: Units, rule: Rule, queries: Queries) -> Iterable[Chunk]:
    """The posterior of the queries as a mixture of Gaussians.

    Raises:
        ValueError: a network of more than two units, which has too many nodes.
    """
    if net.num_units not in (1, 2):
        raise ValueError(f"num_units is {net.num_units}, but rules reach 1 or 2; see network_qmc for more")
    return (single_chunks if net.num_units == 1 else pair_chunks)(net, rule, queries)


def solve_by_rules(net: Units, queries: Queries, fine: Rule, coarse: Rule, second: Rule, words) -> Reference:
    """The answer of the rule `fine`; its certificate compares `coarse` and, as second method, `second`.

    Args:
        words: how the error was found, and the second method, for the certificate.
    """
    answer = mixture_reference(queries.names, chunks(net, fine, queries), len(queries.new_y))
    again = [
        mixture_reference(queries.names, chunks(net, rule, queries), len(queries.new_y)) for rule in (coarse, second)
    ]
    gap, agreement = (max(difference_in_sd(answer, r), abs(answer.log_evidence - r.log_evidence)) for r in again)
    return answer._replace(certificate=Certificate(max(gap, agreement), words[0], words[1], agreement))
