"""Networks of one hidden layer whose posteriors are known: one and two units by quadrature, three and four by
randomised quasi-Monte Carlo, and a classifier of one unit."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from scipy.special import expit

from probjax import Data, Model, likelihoods, mlp, priors
from verification.exact import network_class, network_qmc, network_units, unit_rules
from verification.exact.cache import solved
from verification.problems._parts import new_rows, reweighted
from verification.types import Bug, Problem

ACTIVATIONS = {"tanh": jnp.tanh, "relu": jax.nn.relu}


def units_data(name: str) -> tuple[network_units.Units, network_units.Queries]:
    """The network, its data and its queries, by the problem's name.

    The output weights' prior sd is 1.5/√H, which leaves the spread of f the same for any width.
    """
    num_units, activation, num, noise = SIZES[name]
    rng = np.random.default_rng(7)
    x = np.linspace(-1.5, 1.5, num)
    truth = TRUTHS[activation, num_units == 1]
    query_x, new_x, contrasts, share = QUERIES[activation]
    y, new_y = (truth(v) + noise * rng.standard_normal(len(v)) for v in (x, new_x))
    net = network_units.Units(x, y, noise, (1.0, 1.0, 1.5 / np.sqrt(num_units), 1.0), num_units, activation)
    return net, network_units.values_and_contrasts(query_x, contrasts, new_x, new_y, share=share)


SIZES = {  # units, activation, rows, noise sd
    "network_relu": (1, "relu", 7, 0.3),
    "network_two_units": (2, "tanh", 9, 0.35),
    "network_two_relu": (2, "relu", 7, 0.3),
    "network_three_units": (3, "tanh", 9, 0.35),
    "network_four_units": (4, "tanh", 9, 0.35),
}
TRUTHS = {
    ("tanh", False): lambda x: np.tanh(2 * x + 1) - 0.8 * np.tanh(1.6 * x - 1),
    ("relu", True): lambda x: 1.5 * np.maximum(x + 0.3, 0) - 0.4,
    ("relu", False): lambda x: 1.2 * np.abs(x) - 0.5,
}
QUERIES = {  # points, held-out points, contrasts and their share; for ReLU on the rows' grid, as every point is a kink
    "tanh": (np.array([-2.25, -1.5, -0.5, 0.5, 1.5, 2.25]), np.array([-2.25, -0.5, 1.0]), ((1, 4), (2, 3)), 0.5),
    "relu": (np.array([-1.5, 0.0, 1.0, 1.5, 2.5]), np.array([-1.0, 0.5, 2.5]), ((1, 3), (1, 4)), 1.0),
}


def network_relu() -> Problem:
    """7 rows, one ReLU unit; the posterior has kinks wherever a row's preactivation changes sign."""
    net, queries = units_data("network_relu")
    lines, polar = unit_rules.lines, unit_rules.polar
    kinks = np.concatenate([net.x, queries.x, queries.new_x])
    solve = lambda: network_units.solve_by_rules(
        net,
        queries,
        lines(net, kinks, 20, 90),
        lines(net, kinks, 16, 70),
        polar(net, kinks, 40, 60),
        (
            "Gauss–Legendre between kinks in b, 20 nodes a panel against 16",
            "polar coordinates, panels between kink angles",
        ),
    )
    smoothed = Bug("the ReLU smoothed to a softplus", reweighted(Partial(_softplus_ratio, *_joint_parts(net))))
    return _problem("network_relu", "a neural network of one ReLU unit, 7 rows, known noise", solve, smoothed)


def network_two_units() -> Problem:
    """9 rows, two tanh units, seven weights; a 4-D integral."""
    net, queries = units_data("network_two_units")
    rule = unit_rules.half_circle
    solve = lambda: network_units.solve_by_rules(
        net,
        queries,
        rule(net, 40, 80),
        rule(net, 34, 72),
        rule(net, 64, 72, "trapezoid"),
        (
            "40 radii and 80 angles a unit against 34 and 72",
            "trapezoid in the log radius of (w, b)",
        ),
    )
    bug = Bug("tanh replaced by a clipped line", reweighted(Partial(_clipped_ratio, *_joint_parts(net))))
    return _problem("network_two_units", "a neural network of two tanh units, 9 rows, known noise", solve, bug)


def network_two_relu() -> Problem:
    """7 rows, two ReLU units; a 4-D integral with kinks."""
    net, queries = units_data("network_two_relu")
    lines, polar = unit_rules.lines, unit_rules.polar
    kinks = np.concatenate([net.x, queries.x, queries.new_x])
    solve = lambda: network_units.solve_by_rules(
        net,
        queries,
        lines(net, kinks, 9, 38),
        lines(net, kinks, 8, 36),
        polar(net, kinks, 12, 30),
        (
            "Gauss–Legendre between kinks in b, 9 nodes a panel and 76 lines against 8 and 72",
            "polar coordinates, panels between kink angles",
        ),
    )
    bug = Bug("hidden biases with twice their prior sd", reweighted(Partial(_bias_ratio, 2.0)))
    return _problem("network_two_relu", "a neural network of two ReLU units, 7 rows, known noise", solve, bug)


def network_three_units() -> Problem:
    """9 rows, three tanh units, ten weights; a 6-D integral."""
    net, queries = units_data("network_three_units")
    bug = Bug("output weights' prior sd not divided by the root of the width", reweighted(Partial(_width_ratio, 3)))
    about = "a neural network of three tanh units, 9 rows, known noise"
    return _problem("network_three_units", about, lambda: network_qmc.solve_by_qmc(net, queries), bug)


def network_four_units() -> Problem:
    """9 rows, four tanh units, thirteen weights; an 8-D integral."""
    net, queries = units_data("network_four_units")
    bug = Bug("output weights' prior sd divided by the width, not by its root", reweighted(Partial(_narrow_ratio, 4)))
    about = "a neural network of four tanh units, 9 rows, known noise"
    return _problem("network_four_units", about, lambda: network_qmc.solve_by_qmc(net, queries), bug)


def _problem(name, about, solve, bug) -> Problem:
    net, queries = units_data(name)
    w, b, a, c = net.scales
    prior = priors.normal(0.0, ({"weight": w, "bias": b}, {"weight": a, "bias": c}))
    network = mlp([1, net.num_units, 1], activation=ACTIVATIONS[net.activation])
    model = Model(*network, prior=prior, likelihood=likelihoods.normal(net.noise_scale))
    sampler = network_qmc.units_sampler(net)
    return Problem(
        name=name,
        about=about,
        model=model,
        data=_rows(net.x, net.y),
        query=Partial(_linear_queries, model.apply, jnp.asarray(queries.probes), jnp.asarray(queries.x)[:, None]),
        log_new=new_rows(model, _rows(queries.new_x, queries.new_y)),
        reference=solved(name, solve),
        exact_draws=lambda rng, num: units_params(*sampler(rng, num)),
        bug=bug,
    )


def _rows(x, y) -> Data:
    return Data(jnp.asarray(x)[:, None], jnp.asarray(y))


def _linear_queries(apply, probes, x, params):
    return probes @ apply(params, x)


def units_params(hidden, outputs):
    """Hidden weights [S, H, 2] and output weights with the bias last [S, H + 1] -> params of `mlp([1, H, 1])`."""
    return (
        {"weight": hidden[:, None, :, 0], "bias": hidden[:, :, 1]},
        {"weight": outputs[:, :-1, None], "bias": outputs[:, -1:]},
    )


def _joint_parts(net):
    return jnp.asarray(net.x)[:, None], jnp.asarray(net.y), net.noise_scale


def _softplus_ratio(x, y, noise_scale, params):
    """The softplus has sharpness 4."""
    return _activation_ratio(x, y, noise_scale, params, jax.nn.relu, lambda z: jax.nn.softplus(4 * z) / 4)


def _clipped_ratio(x, y, noise_scale, params):
    return _activation_ratio(x, y, noise_scale, params, jnp.tanh, lambda z: jnp.clip(z, -1.0, 1.0))


def _activation_ratio(x, y, noise_scale, params, right, wrong):
    """log p(y | wrong activation) − log p(y | right activation)."""
    hidden, output = params
    z = x @ hidden["weight"] + hidden["bias"]
    error = lambda unit: jnp.sum((y - (unit @ output["weight"] + output["bias"])[:, 0]) ** 2)
    return (error(right(z)) - error(wrong(z))) / (2 * noise_scale**2)


def _bias_ratio(factor, params):
    """N(0, factor²) over N(0, 1) for the hidden biases."""
    return 0.5 * (1 - factor**-2.0) * jnp.sum(params[0]["bias"] ** 2)


def _width_ratio(num_units, params):
    """N(0, 1.5²) over N(0, 1.5²/H) for the output weights."""
    return 0.5 * (num_units - 1) / 1.5**2 * jnp.sum(params[1]["weight"] ** 2)


def _narrow_ratio(num_units, params):
    """N(0, 1.5²/H²) over N(0, 1.5²/H) for the output weights."""
    return -0.5 * (num_units**2 - num_units) / 1.5**2 * jnp.sum(params[1]["weight"] ** 2)


def classifier_data() -> tuple[network_units.Units, network_class.Queries]:
    """14 labels along a line, more often 1 on the right; 4 held out."""
    rng = np.random.default_rng(5)
    x, new_x = np.linspace(-1.5, 1.5, 14), np.array([-2.0, 0.0, 0.6, 2.0])
    label = lambda v: (rng.uniform(size=len(v)) < expit(2.5 * np.tanh(1.5 * v - 0.4))).astype(float)
    net = network_units.Units(x, label(x), float("nan"), (1.0, 1.0, 1.5, 1.0), 1, "tanh")
    names = (*(f"f({v:g})" for v in CLASSIFIER_X), "f(1.5) - f(-1)/3", *(f"p({v:g})" for v in CLASSIFIER_X))
    return net, network_class.Queries(names, CLASSIFIER_X, CLASSIFIER_EXTRA, new_x, label(new_x))


CLASSIFIER_X = np.array([-2.25, -1.0, 0.5, 1.5])
CLASSIFIER_EXTRA = np.array([[0.0, -1 / 3, 0.0, 1.0]])


def network_classifier() -> Problem:
    """14 labels, one tanh unit and an output bias, four weights, none of them Gaussian given the others."""
    net, queries = classifier_data()
    w, b, a, c = net.scales
    prior = priors.normal(0.0, ({"weight": w, "bias": b}, {"weight": a, "bias": c}))
    model = Model(*mlp([1, 1, 1]), prior=prior, likelihood=likelihoods.bernoulli())
    draw = network_qmc.prior_rejection(
        lambda weights: network_class.log_likelihood(net, weights), (4,), np.array(net.scales)
    )
    data = _rows(net.x, net.y)
    return Problem(
        name="network_classifier",
        about="a classifying neural network of one tanh unit, 14 labels",
        model=model,
        data=data,
        query=Partial(_logits_and_probs, model.apply, jnp.asarray(queries.probes), jnp.asarray(queries.x)[:, None]),
        log_new=new_rows(model, _rows(queries.new_x, queries.new_y)),
        reference=solved("network_classifier", lambda: network_class.solve_classifier(net, queries))._replace(
            classes=tuple((k,) for k, name in enumerate(queries.names) if name.startswith("p("))
        ),
        exact_draws=lambda rng, num: _classifier_params(draw(rng, num)),
        bug=Bug("labels smoothed by a tenth", reweighted(Partial(_smoothing_ratio, model.apply, data, 0.1))),
    )


def _classifier_params(weights):
    return units_params(weights[:, None, :2], weights[:, 2:])


def _logits_and_probs(apply, probes, x, params):
    f = apply(params, x)
    return jnp.concatenate([probes @ f, jax.nn.sigmoid(f)])


def _smoothing_ratio(apply, data, amount, params):
    """(1 − ε/2) log p(y) + (ε/2) log p(1 − y) less log p(y), summed over the rows: −(ε/2) Σ sₙfₙ."""
    return -0.5 * amount * jnp.sum((2 * data.y - 1) * apply(params, data.x))


PROBLEMS = {
    "network_relu": network_relu,
    "network_two_units": network_two_units,
    "network_two_relu": network_two_relu,
    "network_three_units": network_three_units,
    "network_four_units": network_four_units,
    "network_classifier": network_classifier,
}
