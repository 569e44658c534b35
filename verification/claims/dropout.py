"""MC dropout: what its spread is, set beside the posterior's, and what it does away from the data."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from scipy import optimize

from probjax import Data, Model, dropout, likelihoods, linear, mlp, over_leading_axis, predict, priors
from verification.claims.parts import BAD, GOOD, THIRD, TRUTH, gap
from verification.claims.replicated import average, farthest
from verification.claims.types import CONTROL, INSTEAD, REFUTED, UNDER, WITHOUT, Finding, Measurement
from verification.exact.conjugate import LinearGaussian
from verification.exact.infinite_width import InfiniteNetwork, process_posterior
from verification.limits.dropout import adaptive_ridge, dropout_reference
from verification.problems.network import NOISE, QUERY_X, SCALES, one_unit_data
from verification.work import build_problem

KEEP, SLOPE = 0.7, 2.0
MANY, FEW, ROWS = 10**6, 20, 500  # rows: of the closed forms, and of what is fitted
CLOSE = 0.05  # relative, of an sd: the harness's tolerance
KEYS = 16
RATES = np.geomspace(1e-4, 0.5, 60)
AT = 48  # RATES[AT] = 0.10, at which the one unit is fitted too


def approximates_the_posterior(rng) -> Finding:
    """On a linear model the masks give f the variance rate/(1 − rate) Σ w²x², w the adaptive-ridge solution (Wager et
    al. 2013): a multiple of f², which tends to 4q(1 − q) at slope 2 where the posterior's is 1/n. On one unit it is the
    same multiple of the unit's height; on many of infinite width it vanishes as 1/H."""
    x = rng.standard_normal(MANY)
    y = SLOPE * x + rng.standard_normal(MANY)
    counts = np.array([10, 100, 1000, 10_000, 100_000, MANY])
    lines = [_line(x[:n], y[:n]) for n in counts]
    masked = np.array([dropout_reference(s, KEEP, 1000).sd[0] for s in lines])
    exact = np.array([s.posterior[1][0, 0] ** -0.5 for s in lines])
    fitted, expected = _fits(rng, x, y)
    limit = SLOPE * np.sqrt(KEEP * (1 - KEEP))
    best, unit = _one_unit(rng)
    wide, process = _wide(rng, (4096, 16384))
    fall = 2 * wide[:, 1] / wide[:, 0] - 1
    rate = optimize.brentq(lambda rate: _sd(lines[-1], 1 - rate)[0] - exact[-1], 1e-12, 0.5, xtol=1e-15)

    def draw(ax):
        ax.loglog(counts, masked, "o-", color=BAD, label="MC dropout, all masks")
        ax.loglog([FEW, ROWS], fitted.mean(0), "s", color=THIRD, ms=8, label="MC dropout, fitted")
        ax.loglog(counts, exact, "o-", color=GOOD, label="posterior")
        ax.axhline(limit, color=TRUTH, lw=0.8, ls=":", label="2√(q(1 − q))")
        ax.set(xlabel="rows n of y = 2x + ε, ε ~ N(0, 1); q = 0.7 of the masks are 1", ylabel="sd of f(1)")
        ax.legend(frameon=False)

    ratio = masked[-1] / exact[-1]
    law = "sd of f(1) after 10⁶ rows less 2√(q(1 − q)) = 0.917"
    of_rate = "|n · rate · slope² − 1| at the rate that gives the posterior's sd, 10⁶ rows"
    return Finding(
        [
            Measurement(REFUTED, "sd of f(1) after 10⁶ rows over the posterior's − 1", ratio - 1, CLOSE),
            Measurement(REFUTED, "one tanh unit, best of 60 rates: largest |sd/exact − 1| over 7 x", best, CLOSE),
            Measurement(REFUTED, "4096 ReLU units: |sd of f(0)/NNGP − 1|", abs(wide[:, 0].mean() / process - 1), CLOSE),
            Measurement(INSTEAD, "three inputs: sds by all masks less √(rate/(1 − rate) Σw²x²)", _by_masks(rng), 1e-10),
            Measurement(INSTEAD, law, abs(masked[-1] - limit), 5e-3),
            Measurement(INSTEAD, "the posterior's sd of f(1) after 10⁶ rows less 0.001", abs(exact[-1] - 1e-3), 1e-5),
            farthest(INSTEAD, "fitted to 20 and to 500 rows, |sd/closed form − 1|", fitted / expected, CLOSE),
            farthest(INSTEAD, "fitted, one tanh unit, |sd/(√(rate/(1 − rate)) · height) − 1|", unit, CLOSE),
            farthest(INSTEAD, "|2 · sd at 16384 units/sd at 4096 − 1|", 1 + fall[:, None], 0.1),
            Measurement(INSTEAD, of_rate, abs(rate * MANY * SLOPE**2 - 1), 0.02),
            Measurement(CONTROL, "the posterior's " + law, abs(exact[-1] - limit), 5e-3),
            Measurement(CONTROL, "dropout off: " + law, abs(_sd(lines[-1], 1.0)[0] - limit), 5e-3),
            farthest(CONTROL, "fitted, against q/(1 − q) for (1 − q)/q", fitted / expected * (1 - KEEP) / KEEP, CLOSE),
        ],
        draw,
    )


def _line(x, y):
    return LinearGaussian(("f(1)",), x[:, None], y, 1.0, 1.0, np.ones((1, 1)), np.ones((1, 1)), np.ones(1))


def _sd(s, keep):
    """√((1 − q)/q Σ w²x²) of every query."""
    return np.sqrt((1 - keep) / keep * s.queries**2 @ adaptive_ridge(s, keep) ** 2)


def _by_masks(rng):
    x = rng.standard_normal((30, 3))
    y = x @ [1.0, -2.0, 0.0] + rng.standard_normal(30)
    s = LinearGaussian(("a", "b"), x, y, 1.0, 1.0, rng.standard_normal((2, 3)), x[:1], y[:1])
    return gap(dropout_reference(s, KEEP, 1000).sd, _sd(s, KEEP))


def _fits(rng, x, y):
    """sds of f(1) of `dropout` on FEW and ROWS rows, [keys, 2], and the closed form's. Rows of zeros add a constant to
    the log-joint, so that both are one program."""
    model = Model(*linear(1, bias=False), prior=priors.normal(0.0, 1.0), likelihood=likelihoods.normal(1.0))
    seen = (np.arange(ROWS) < np.array([[FEW], [ROWS]])).astype(float)
    data = Data(jnp.asarray(seen * x[:ROWS])[..., None], jnp.asarray(seen * y[:ROWS]))

    def one(key, data):
        draws = dropout(key, model, data, rate=1 - KEEP, num_draws=4000, num_steps=2000, num_masks=8).draws
        return jnp.std(draws["weight"])

    many = jax.tree.map(lambda leaf: jnp.repeat(leaf, KEYS, axis=0), data)
    sds = jax.jit(lambda keys, data: over_leading_axis(one, keys, data))(_keys(rng, 2 * KEYS), many)
    return np.asarray(sds).reshape(2, KEYS).T, np.array([_sd(_line(x[:n], y[:n]), KEEP)[0] for n in (FEW, ROWS)])


def _keys(rng, number):
    return jax.random.split(jax.random.key(int(rng.integers(2**31))), number)


def _one_unit(rng):
    """Dropout of the one unit, f = c + m/q · a tanh(wx + b), the expectation over its mask in closed form: the
    smallest, over rates, of the largest |sd/exact − 1| over x; and the sds of `dropout` over that form's,
    [keys, 7]."""
    problem, net = build_problem("network_one_unit", None), one_unit_data()[0]

    def objective(v, spread):
        w, b, a, c = v
        height = a * np.tanh(w * net.x + b)
        square = np.sum((net.y - height - c) ** 2) + spread * height @ height
        return square / (2 * NOISE**2) + np.sum((v / SCALES) ** 2) / 2

    def sd(rate):
        w, b, a, _ = optimize.minimize(objective, [1.0, 0.0, 1.0, 0.0], (rate / (1 - rate),), tol=1e-10).x
        return np.sqrt(rate / (1 - rate)) * np.abs(a * np.tanh(w * QUERY_X + b))

    sds = np.array([sd(rate) for rate in RATES])
    off = np.abs(sds / problem.reference.sd[: len(QUERY_X)] - 1).max(1)

    def one(key, model, data):
        posterior = dropout(key, model, data, rate=RATES[AT], num_draws=20_000, num_masks=4, num_steps=2000)
        return jnp.std(predict(model, posterior, jnp.asarray(QUERY_X)[:, None]), axis=0)

    run = jax.jit(lambda keys, model, data: over_leading_axis(lambda key: one(key, model, data), keys))
    return float(off.min()), np.asarray(run(_keys(rng, KEYS), problem.model, problem.data)) / sds[AT]


def _wide(rng, widths, runs=16):
    """sd of f(0) by dropout at rate 0.1 of H ReLU units drawn from their prior, [runs, widths], and the NNGP's."""
    x = np.linspace(-2, 2, 12)
    y = np.sin(1.8 * x) + 0.3 * x + 0.2 * rng.standard_normal(12)
    spread = 0.1 / 0.9

    def one(width):
        w, b = 1.4 * rng.standard_normal(width), 0.5 * rng.standard_normal(width)
        units = lambda v: np.maximum(np.multiply.outer(v, w) + b, 0)
        penalty = spread * np.sum(units(x) ** 2, 0) / 0.04 + width / 1.4**2
        scaled = units(x) / penalty
        marginal = scaled @ units(x).T + 0.25 + 0.04 * np.eye(12)  # 0.25: the output's bias, which no mask meets
        return np.sqrt(spread * np.sum((scaled.T @ np.linalg.solve(marginal, y) * units(0.0)) ** 2))

    net = InfiniteNetwork(x[:, None], y, 0.04, 1.4, 0.5, 1, "relu")
    process = np.sqrt(process_posterior(net, np.zeros((1, 1)))[1][0, 0])
    return np.array([[one(width) for width in widths] for _ in range(runs)]), float(process)


RUNS, SEEN, HIDDEN = 10, 80, 24
INSIDE, OUTSIDE = np.linspace(-3, 3, 61), np.concatenate([np.linspace(-5, -3.1, 20), np.linspace(3.1, 5, 20)])
FAR = np.array([-20.0, 20.0, -40.0, 40.0])


def grows_outside_the_data(rng) -> Finding:
    """Under a mask a network of ReLUs is linear beyond its last kink, so that the sd over masks doubles where the
    distance does; one of tanh units is constant there. What the sd grows with is the distance from where the masked
    units are 0, wherever the data lie, and a multiple of what the network says, not of what it gets wrong."""
    x = rng.uniform(-3, 3, (RUNS, SEEN))
    y = np.sin(x) + 0.1 * rng.standard_normal(x.shape)
    sd, mean = _sine_networks(rng, x, y)  # [relu, tanh, relu of rate 1e-5; RUNS, points]
    points = np.concatenate([INSIDE, OUTSIDE, FAR])
    held = np.abs(mean - np.sin(points)) <= 2 * sd
    inside, outside = np.split(np.arange(len(points) - len(FAR)), [len(INSIDE)])
    cover = {name: held[..., place].mean(-1) for name, place in (("in", inside), ("out", outside))}
    far = np.sqrt((sd[..., -4:].reshape(3, RUNS, 2, 2) ** 2).mean(-1))  # at |x| = 20 and 40
    doubling, growth = far[:2, :, 1] / far[:2, :, 0], far[0, :, 1] / sd[0][:, inside].mean(-1)
    aside, certain = _data_aside(rng)
    exact = _process_coverage(x, y)

    def draw(ax):
        order = np.argsort(points[:-4])
        for row, name, colour in ((0, "MC dropout, ReLU", BAD), (1, "MC dropout, tanh", THIRD)):
            ax.plot(points[order], sd[row][:, order].mean(0), color=colour, label=name)
        error = np.sqrt(((mean[0] - np.sin(points)) ** 2).mean(0))
        ax.plot(points[order], error[order], color=TRUTH, ls="--", lw=1, label="rms error of the mean, ReLU")
        ax.axvspan(-3, 3, color="0.93", zorder=0)
        ax.set(xlabel="x; data in the shaded part, y = sin x + noise", ylabel="sd of f(x), average of 10 data sets")
        ax.legend(frameon=False)

    far_out = "sd of f at |x| = 40 over that at 20"
    share = "share of x in 3 < |x| ≤ 5 where |mean − sin x| ≤ 2 sd"
    near = "share of x in |x| ≤ 3 where |mean − sin x| ≤ 2 sd"
    linear_sd = "a line, data in [1, 3]: sd of f(0) over that of f(2)"
    return Finding(
        [
            average(UNDER, f"ReLU: {far_out}", doubling[0], 1.8, at_least=True),
            average(UNDER, "ReLU: log of sd at |x| = 40 over sd inside", np.log(growth), 0.5, at_least=True),
            average(WITHOUT, f"tanh: {far_out}", doubling[1], 1.8, at_least=True),
            Measurement(WITHOUT, linear_sd, aside, 1.0, at_least=True),
            Measurement(INSTEAD, "the posterior's, " + linear_sd, certain, 1.0, at_least=True),
            average(INSTEAD, f"ReLU: {share}", cover["out"][0], 0.75),
            average(INSTEAD, f"tanh: {share}", cover["out"][1], 0.75),
            average(INSTEAD, f"ReLU, infinite width, the exact posterior: {share}", exact, 0.75),
            average(INSTEAD, f"ReLU: {near}", cover["in"][0], 0.8, at_least=True),
            average(CONTROL, f"rate → 0, ReLU: {near}", cover["in"][2], 0.8, at_least=True),
            average(CONTROL, "ReLU: the same share inside, |x| ≤ 3", cover["in"][0], 0.75),
        ],
        draw,
    )


def _sine_networks(rng, x, y):
    """sd and mean of f over masks, each [3, RUNS, points]: ReLU and tanh at rate 0.1, ReLU at rate 10⁻⁵; one program
    for the three, the activation being a mixture with a weight that is an argument."""
    points = jnp.asarray(np.concatenate([INSIDE, OUTSIDE, FAR]))[:, None]

    def one(key, x, y, rate, share):
        network = mlp([1, HIDDEN, HIDDEN, 1], activation=Partial(_between, share))
        model = Model(*network, prior=priors.normal(0.0, 1.0), likelihood=likelihoods.normal(0.1))
        settings = {"num_draws": 200, "num_masks": 1, "num_steps": 1500, "learning_rate": 0.01}
        f = predict(model, dropout(key, model, Data(x[:, None], y), rate=rate, **settings), points)
        return jnp.std(f, axis=0), jnp.mean(f, axis=0)

    each = lambda values: jnp.repeat(jnp.asarray(values), RUNS)
    rows = jnp.tile(x, (3, 1)), jnp.tile(y, (3, 1)), each([0.1, 0.1, 1e-5]), each([1.0, 0.0, 1.0])
    found = jax.jit(lambda *args: over_leading_axis(one, *args))(_keys(rng, 3 * RUNS), *rows)
    return [np.asarray(part).reshape(3, RUNS, len(points)) for part in found]


def _between(share, h):
    return share * jax.nn.relu(h) + (1 - share) * jnp.tanh(h)


def _data_aside(rng):
    """A line with a bias, which no mask meets, and rows in [1, 3]: sd of f(0) over that of f(2), by dropout's closed
    form and of the posterior."""
    x = rng.uniform(1, 3, 30)
    design, queries = np.column_stack([x, np.ones(30)]), np.array([[0.0, 1.0], [2.0, 1.0]])
    s = LinearGaussian(("0", "2"), design, 2 * x + 1 + rng.standard_normal(30), 1.0, 1.0, queries, queries, np.ones(2))
    masked = dropout_reference(s, KEEP, 1000).sd
    exact = np.sqrt(np.diag(queries @ np.linalg.solve(s.posterior[1], queries.T)))
    return float(masked[0] / masked[1]), float(exact[0] / exact[1])


def _process_coverage(x, y):
    """The same share for the exact posterior of two hidden ReLU layers of infinite width, [RUNS]."""

    def one(x, y):
        net = InfiniteNetwork(x[:, None], y, 0.01, np.sqrt(2), 0.5, 2, "relu")
        mean, covariance, _ = process_posterior(net, OUTSIDE[:, None])
        return np.mean(np.abs(mean - np.sin(OUTSIDE)) <= 2 * np.sqrt(np.diag(covariance)))

    return np.array([one(*row) for row in zip(x, y)])
