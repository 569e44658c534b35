"""Networks on real data, beyond the reach of quadrature: against long runs of two samplers, stored beside this file.

They are remade by

    python -m verification.problems.long_run diabetes_network
    python -m verification.problems.long_run digits_network
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from scipy.special import softmax
from sklearn.datasets import load_diabetes, load_digits

from probjax import Data, Model, likelihoods, mlp, priors
from verification.exact.long_runs import read_reference
from verification.exact.mlp_density import Net, outputs, row_log_likelihood
from verification.problems._parts import new_rows
from verification.types import Problem

FOLDER = Path(__file__).parent
NUM_UNITS = 5
DIABETES_NEW, DIABETES_NOISE = 10, 0.7
DIABETES_SCALES = (0.5, 0.5, 1 / np.sqrt(NUM_UNITS), 1.0)  # prior sd of W, b, A, c
DIGITS, NUM_COMPONENTS, DIGITS_FIT, DIGITS_NEW = (3, 5, 8, 9), 4, 200, 10
SHOWN = (0, 1, 2, 3)  # held-out images that are queried
DIGITS_SCALES = (0.5, 0.5, 1.0, 1.0)


class Setup(NamedTuple):
    """A network to be judged and what its long run needs.

    problem: without reference. names: of the queries. net: the same density in NumPy.
    points: [M, D], where f is asked for; probes: [L, M·K], linear in those outputs; probabilities: [R, 2], pairs
        (point, class) whose probabilities are queries after the linear ones.
    new_x, new_y: the held-out rows.
    """

    problem: Problem
    names: tuple[str, ...]
    net: Net
    points: np.ndarray
    probes: np.ndarray
    probabilities: np.ndarray
    new_x: np.ndarray
    new_y: np.ndarray

    def second_queries(self, params: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Queries [C, Q] and log p(y_new | params) [C] of flat params [C, P], in NumPy."""
        f = outputs(self.net, params, self.points)
        linear = f.reshape(len(f), -1) @ self.probes.T
        chosen = softmax(f, axis=2)[:, self.probabilities[:, 0], self.probabilities[:, 1]]
        log_new = row_log_likelihood(self.net, outputs(self.net, params, self.new_x), self.new_y).sum(1)
        return np.concatenate([linear, chosen], 1), log_new


def diabetes_setup() -> Setup:
    """432 rows of the diabetes data, inputs and response standardised, 10 held out, rows in a fixed random order; five
    tanh units, W and b ~ N(0, 0.5²), A ~ N(0, 1/5), c ~ N(0, 1), noise sd 0.7 known (the linear fit's is 0.71).

    Queries: f at the mean input, at three held-out rows and at three inputs far from the data; differences of them.
    """
    raw = load_diabetes()
    order = np.random.default_rng(1).permutation(len(raw.target))
    x, y = ((v - v.mean(0)) / v.std(0) for v in (raw.data[order], raw.target[order]))
    fit, new = slice(0, -DIABETES_NEW), slice(-DIABETES_NEW, None)
    far = 3 * np.eye(10)[[2, 8]]  # body mass and a blood value, 3 sd above and below their mean
    points = np.vstack([np.zeros(10), x[new][:3], far[0], -far[1], 4 * x[new][3]])
    names = ("f(mean)", "f(row 1)", "f(row 2)", "f(row 3)", "f(bmi +3)", "f(s5 -3)", "f(4 row 4)")
    pairs = {"f(row 1) - f(row 2)": (1, 2), "f(row 3) - f(mean)": (3, 0), "f(bmi +3) - f(s5 -3)": (4, 5)}
    contrasts = np.array([np.eye(7)[i] - np.eye(7)[j] for i, j in pairs.values()])
    net = Net(x[fit], y[fit], DIABETES_SCALES, NUM_UNITS, 1, DIABETES_NOISE)
    about = "a neural network of five tanh units on the diabetes data, 432 rows, known noise"
    probes, none = np.vstack([np.eye(7), contrasts]), np.empty((0, 2), int)
    return _setup("diabetes_network", about, net, (*names, *pairs), points, probes, none, x[new], y[new])


def digits_setup() -> Setup:
    """200 images of the digits 3, 5, 8 and 9, their first four principal components with unit variance, 10 images held
    out, in a fixed random order; five tanh units, softmax of four logits, W and b ~ N(0, 0.5²), A and c ~ N(0, 1).

    Queries: probabilities at held-out images and at one far from the data, and differences of logits: a common shift of
    the logits changes no probability.
    """
    raw = load_digits()
    kept = np.isin(raw.target, DIGITS)
    pixels, labels = raw.data[kept], np.searchsorted(DIGITS, raw.target[kept])
    order = np.random.default_rng(1).permutation(len(labels))
    pixels, labels = pixels[order], labels[order]
    left, _, right = np.linalg.svd(pixels - pixels.mean(0), full_matrices=False)
    largest = np.take_along_axis(right, np.abs(right).argmax(1)[:, None], 1)[
        :, 0
    ]  # a sign that does not depend on LAPACK
    x = (left * np.sign(largest))[:, :NUM_COMPONENTS] * np.sqrt(len(labels))  # LAPACK leaves the signs open
    new = slice(DIGITS_FIT, DIGITS_FIT + DIGITS_NEW)
    points = np.vstack([x[new][list(SHOWN)], 2.5 * x[new][SHOWN[0]]])
    num = len(DIGITS)
    words = [*(f"row {row + 1}" for row in SHOWN), f"2.5 row {SHOWN[0] + 1}"]
    pairs = [(0, 1, 0), (1, 3, 2), (2, 0, 3), (3, 2, 1), (4, 1, 3)]  # point, class, class
    probes = np.array([np.eye(5 * num)[m * num + i] - np.eye(5 * num)[m * num + j] for m, i, j in pairs])
    chosen = np.array([*((m, labels[new][SHOWN[m]]) for m in range(3)), (4, 1), (4, 3)])
    names = [f"log p({DIGITS[i]})/p({DIGITS[j]}) ({words[m]})" for m, i, j in pairs]
    names += [f"p({DIGITS[k]}) ({words[m]})" for m, k in chosen]
    net = Net(x[:DIGITS_FIT], labels[:DIGITS_FIT], DIGITS_SCALES, NUM_UNITS, num, None)
    about = "a neural network of five tanh units telling the digits 3, 5, 8 and 9, 200 images"
    return _setup("digits_network", about, net, names, points, probes, chosen, x[new], labels[new])


def _setup(name, about, net, names, points, probes, probabilities, new_x, new_y) -> Setup:
    w, b, a, c = net.scales
    prior = priors.normal(0.0, ({"weight": w, "bias": b}, {"weight": a, "bias": c}))
    likelihood = likelihoods.categorical() if net.noise_scale is None else likelihoods.normal(net.noise_scale)
    model = Model(*mlp([net.x.shape[1], net.num_units, net.num_outputs]), prior=prior, likelihood=likelihood)
    rows = lambda x, y: Data(jnp.asarray(x), jnp.asarray(y))
    query = Partial(_queries, model.apply, *(jnp.asarray(v) for v in (points, probes, probabilities)))
    problem = Problem(
        name=name,
        about=about,
        model=model,
        data=rows(net.x, net.y),
        query=query,
        log_new=new_rows(model, rows(new_x, new_y)),
        reference=None,
        exact_draws=None,
    )
    return Setup(problem, tuple(names), net, points, probes, probabilities, new_x, new_y)


def _queries(apply, points, probes, probabilities, params):
    f = apply(params, points).reshape(len(points), -1)
    chosen = jax.nn.softmax(f, axis=1)[probabilities[:, 0], probabilities[:, 1]]
    return jnp.concatenate([probes @ f.ravel(), chosen])


def stored(name: str) -> Path:
    """The file of a long run."""
    return FOLDER / f"{name}_long_run.json"


def diabetes_network() -> Problem:
    """The diabetes network of `diabetes_setup`, against the stored long run; remade by `python -m
    verification.problems.long_run diabetes_network`."""
    return diabetes_setup().problem._replace(reference=read_reference(stored("diabetes_network")))


def digits_network() -> Problem:
    """The digits network of `digits_setup`, against the stored long run; remade by `python -m
    verification.problems.long_run digits_network`."""
    setup = digits_setup()
    reference, num_linear = read_reference(stored("digits_network")), len(setup.probes)
    # each chance is that of a class against all others
    chances = tuple((num_linear + k,) for k in range(len(setup.probabilities)))
    return setup.problem._replace(reference=reference._replace(classes=chances))


SETUPS = {"diabetes_network": diabetes_setup, "digits_network": digits_setup}
PROBLEMS = {
    "diabetes_network": diabetes_network,
    "digits_network": digits_network,
}
