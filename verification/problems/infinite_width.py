"""Networks of infinite width: Gaussian-process regression with the kernels of wide ReLU and erf networks."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import multivariate_normal
from jax.tree_util import Partial

from probjax import Data, Target
from probjax.types import Static
from verification.exact import infinite_width as exact
from verification.exact.cache import solved
from verification.types import Bug, Problem

QUERY_X = np.array([-2.5, -1.0, 0.0, 1.0, 2.5])
NEW_X = np.array([-0.5, 1.8])
CONTRASTS = ((1, 2), (2, 3), (0, 4))
NOISE_VARIANCE = {"relu": 0.04, "erf": 0.25}


def process_data(activation: str, depth: int) -> tuple[exact.InfiniteNetwork, np.ndarray, np.ndarray]:
    """12 rows of a bumpy line, the points [P, 1] where f is a parameter (queries, then held-out rows), and new_y."""
    rng = np.random.default_rng(12)
    truth = lambda x: np.sin(1.8 * x) + 0.3 * x
    x = np.linspace(-2.0, 2.0, 12)
    y, new_y = (truth(v) + np.sqrt(NOISE_VARIANCE[activation]) * rng.standard_normal(len(v)) for v in (x, NEW_X))
    net = exact.InfiniteNetwork(x[:, None], y, NOISE_VARIANCE[activation], 1.4, 0.5, depth, activation)
    return net, np.append(QUERY_X, NEW_X)[:, None], new_y


def nngp_relu() -> Problem:
    """12 rows, two hidden ReLU layers of infinite width."""
    bug = "the arc-cosine kernel without its factor 1/2"
    doubled = lambda net: net._replace(weight_sd=net.weight_sd * np.sqrt(2))
    return _problem("nngp_relu", "regression by a ReLU network of infinite width", "relu", 2, bug, doubled)


def nngp_erf() -> Problem:
    """12 rows, one hidden erf layer of infinite width."""
    bug = "noise sd taken for the noise variance"
    louder = lambda net: net._replace(noise_variance=np.sqrt(net.noise_variance))
    return _problem("nngp_erf", "regression by an erf network of infinite width", "erf", 1, bug, louder)


def _problem(name, about, activation, depth, bug, mistaken) -> Problem:
    net, points, new_y = process_data(activation, depth)
    num = len(QUERY_X)
    eye = np.eye(len(points))
    probes = np.vstack([eye[:num], *(eye[b] - eye[a] for a, b in CONTRASTS)])
    names = [f"f({v:g})" for v in QUERY_X] + [f"f({QUERY_X[b]:g}) - f({QUERY_X[a]:g})" for a, b in CONTRASTS]
    scales = {"weight_sd": net.weight_sd, "bias_sd": net.bias_sd, "noise_variance": net.noise_variance}
    process = (Static((activation, depth)), scales, jnp.asarray(points))
    right, wrong = (_sampler(*exact.process_posterior(n, points)[:2]) for n in (net, mistaken(net)))
    return Problem(
        name=name,
        about=about,
        model=Target(Partial(_init, len(points)), Partial(_log_joint, *process), _constrain),
        data=Data(jnp.asarray(net.x), jnp.asarray(net.y)),
        query=Partial(_probe, jnp.asarray(probes)),
        log_new=Partial(_log_new, jnp.asarray(new_y), net.noise_variance),
        reference=solved(name, lambda: exact.infinite_network(net, names, points, probes, new_y)),
        exact_draws=right,
        log_concave=True,
        bug=Bug(bug, lambda rng, params: wrong(rng, len(params["f"]))),
    )


def _init(size, key):
    return {"f": jax.random.normal(key, (size,))}


def _log_joint(structure, scales, points, params, data):
    """log p(y, f): f at `points` under the prior, times y given f, a Gaussian too."""
    kernel = lambda a, b: _kernel(*structure.value, scales, a, b)
    noise = scales["noise_variance"] * jnp.eye(len(data.y))
    prior, cross = kernel(points, points), kernel(data.x, points)
    gain = jnp.linalg.solve(prior, cross.T).T
    given_f = kernel(data.x, data.x) + noise - gain @ cross.T
    log_prior = multivariate_normal.logpdf(params["f"], jnp.zeros(len(points)), prior)
    return log_prior + multivariate_normal.logpdf(data.y, gain @ params["f"], (given_f + given_f.T) / 2)


def _kernel(activation, depth, scales, x, x2):
    """The recursion of Lee et al. (2018) eq. 5 with its closed forms, on inputs [N, D] and [M, D]."""
    layer = lambda expectation: scales["bias_sd"] ** 2 + scales["weight_sd"] ** 2 * expectation
    k = layer(x @ x2.T / x.shape[1])
    v, v2 = layer(jnp.mean(x**2, 1))[:, None], layer(jnp.mean(x2**2, 1))[None, :]
    for _ in range(depth):
        if activation == "relu":
            cosine = jnp.clip(k / jnp.sqrt(v * v2), -1.0, 1.0)
            angle = jnp.arccos(cosine)
            k = layer(jnp.sqrt(v * v2) / (2 * jnp.pi) * (jnp.sin(angle) + (jnp.pi - angle) * cosine))
            v, v2 = layer(v / 2), layer(v2 / 2)
        else:
            k = layer(2 / jnp.pi * jnp.arcsin(2 * k / jnp.sqrt((1 + 2 * v) * (1 + 2 * v2))))
            v, v2 = (layer(2 / jnp.pi * jnp.arcsin(2 * u / (1 + 2 * u))) for u in (v, v2))
    return k


def _constrain(params):
    return params


def _probe(probes, params):
    return probes @ params["f"]


def _log_new(new_y, noise_variance, params):
    """log p(y_new | f); the last points are those of the held-out rows."""
    f = params["f"][-new_y.shape[0] :]
    return jnp.sum(jax.scipy.stats.norm.logpdf(new_y, f, jnp.sqrt(noise_variance)))


def _sampler(mean, covariance):
    factor = np.linalg.cholesky(covariance)
    return lambda rng, num_draws: {"f": mean + rng.standard_normal((num_draws, len(mean))) @ factor.T}


PROBLEMS = {
    "nngp_relu": nngp_relu,
    "nngp_erf": nngp_erf,
}
