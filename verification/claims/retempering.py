"""What smoothed labels make of confidence, before a temperature is fitted and after."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize, special

from probjax import losses
from probjax.forecasts import from_logits
from probjax.recalibration import temperature
from verification.claims import small_nets
from verification.claims.parts import BAD, GOOD, THIRD, TRUTH, gap
from verification.claims.replicated import average
from verification.claims.types import CONTROL, INSTEAD, UNDER, WITHOUT, Finding, Measurement

COPIES, NEW = 20, 2000
EPSILONS = (0.0, 0.05, 0.1, 0.2)
PLENTY, SCARCE = (2000, 5), (160, 20)  # rows and columns of a logistic regression
NETS, DIGITS, HELD = 8, 200, 800  # networks an ε, rows they learn from, rows for the temperature
OF_NETS = (0.0, 0.1, 0.2)


def confidence_of_smoothed(rng) -> Finding:
    """The loss is least at (1 − ε)p + ε/K: whoever would have been right becomes under-confident, mean confidence less
    accuracy being −ε(E max p − 1/K); whoever was over-confident becomes less so. A temperature mends the mean. It does
    not undo the mixture: that is (q − ε/K)/(1 − ε)."""
    plenty, scarce = (_confidence_less_accuracy(rng, *size) for size in (PLENTY, SCARCE))  # [R, ε, before/after]
    nets = _networks_less_accuracy(rng)
    mended = np.abs(nets[:, -1, 0]) - np.abs(nets[:, -1, 1])
    at = EPSILONS.index(0.1)
    grown = lambda found, after=0: np.abs(found[:, at, after]) - np.abs(found[:, 0, after])
    p = rng.dirichlet(np.ones(4))
    slope = jax.grad(lambda z: _expected_loss(p, z, 0.1))(jnp.log(0.9 * p + 0.1 / 4))
    left, undone = _left_by_temperature(0.1)

    grows = "growth of |mean confidence − accuracy| from ε = 0 to 0.1, {} rows, {} columns"
    return Finding(
        [
            average(UNDER, grows.format(*PLENTY), grown(plenty), 0.01, at_least=True),
            average(WITHOUT, grows.format(*SCARCE), grown(scarce), 0.01, at_least=True),
            average(INSTEAD, grows.format(*PLENTY) + ", both re-tempered", grown(plenty, after=1), 0.005),
            average(
                INSTEAD, "accuracy − mean confidence, ε = 0.1, the same rows", -plenty[:, at, 0], 0.01, at_least=True
            ),
            average(
                INSTEAD, f"mean confidence − accuracy, ε = 0, {SCARCE[0]} rows", scarce[:, 0, 0], 0.01, at_least=True
            ),
            average(
                INSTEAD,
                f"networks on {DIGITS} digits: confidence − accuracy, ε = 0",
                nets[:, 0, 0],
                0.0,
                at_least=True,
            ),
            average(INSTEAD, "the same: accuracy − confidence, ε = 0.2", -nets[:, -1, 0], 0.01, at_least=True),
            average(INSTEAD, "the same: what a temperature takes off its size", mended, 0.05, at_least=True),
            Measurement(INSTEAD, "gradient of the expected loss at (1 − ε)p + ε/K", gap(slope, 0), 1e-12),
            Measurement(INSTEAD, "nats a row from p to the best temperature of that", left, 1e-3, at_least=True),
            Measurement(INSTEAD, "the same with the mixture undone", undone, 1e-12),
            average(CONTROL, "accuracy − mean confidence, ε = 0", -plenty[:, 0, 0], 0.01, at_least=True),
        ],
        lambda ax: _draw_errors(ax, plenty, scarce, nets),
    )


def _draw_errors(ax, plenty, scarce, nets):
    size = "{} rows, {} columns".format
    shown = (plenty, GOOD, size(*PLENTY)), (scarce, BAD, size(*SCARCE)), (nets, THIRD, f"networks, {DIGITS} digits")
    for found, colour, name in shown:
        epsilons = OF_NETS if found is nets else EPSILONS
        for after, style in enumerate(("o-", "s--")):
            mean, error = found[..., after].mean(0), found[..., after].std(0, ddof=1) / np.sqrt(len(found))
            label = None if after else name
            ax.errorbar(epsilons, mean, 3.3 * error, fmt=style, color=colour, label=label, ms=5, capsize=2)
    ax.plot([], [], "s--", color="0.5", label="after a temperature")
    ax.axhline(0, color=TRUTH, lw=0.8)
    ax.set(xlabel="ε", ylabel="mean confidence less accuracy, new rows")
    ax.legend(frameon=False)


def _expected_loss(p, z, epsilon):
    """Over labels drawn from p."""
    num = len(p)
    return p @ losses.label_smoothed_cross_entropy(jnp.arange(num), jnp.broadcast_to(z, (num, num)), epsilon)


def _left_by_temperature(epsilon):
    """KL from the chances of two classes, log-odds N(0, 2²), to their mixture with ½: at the best temperature, and
    with the mixture undone."""
    p = special.expit(2 * special.ndtri((np.arange(2000) + 0.5) / 2000))
    mixed = (1 - epsilon) * p + epsilon / 2
    kl = lambda q: np.mean(special.rel_entr(p, q) + special.rel_entr(1 - p, 1 - q))
    tempered = lambda beta: kl(special.expit(beta * special.logit(mixed)))
    best = optimize.minimize_scalar(tempered, bounds=(0.5, 5), method="bounded")
    return float(best.fun), float(abs(kl((mixed - epsilon / 2) / (1 - epsilon))))


def _confidence_less_accuracy(rng, num, columns):
    """Of logistic regressions on smoothed labels, on new rows whose chances are known: [R, ε, before and after]."""
    weight = rng.standard_normal((COPIES, columns, 1))
    weight *= 2 / np.linalg.norm(weight, axis=1, keepdims=True)
    draw = lambda n: _rows(rng, weight, n)
    (x, y, _), (held, labels, _), (new, _, chance) = draw(num), draw(NEW), draw(NEW)
    found = np.empty((COPIES, len(EPSILONS), 2))
    for at, epsilon in enumerate(EPSILONS):
        fitted = _newton(x, (1 - epsilon) * y + epsilon / 2)
        f, before = (np.squeeze(rows @ fitted, 2) for rows in (new, held))
        right = np.where(f > 0, chance, 1 - chance)
        fits = [temperature(from_logits(z), each) for z, each in zip(before, labels)]
        beta = np.array([float(fit.params.inverse_temperature) for fit in fits])[:, None]
        for after, scale in enumerate((1.0, beta)):
            found[:, at, after] = np.mean(special.expit(scale * np.abs(f)) - right, axis=1)
    return found


def _networks_less_accuracy(rng):
    """The same of networks on a few digits."""
    sets = [small_nets.split(rng, "digits", DIGITS) for _ in range(NETS)]
    # pixels that the few rows hardly show are many sds off in others, whose few wild logits then decide the temperature
    sets = [s._replace(x=np.clip(s.x, -3, 3), test_x=np.clip(s.test_x, -3, 3)) for s in sets]
    each = [(s, small_nets.smoothed(small_nets.one_hot(s.labels), epsilon)) for s in sets for epsilon in OF_NETS]
    targets = [target for _, target in each]
    fitted = small_nets.train(rng, [s.x for s, _ in each], targets, small_nets.Recipe())
    logits = small_nets.logits(fitted, np.stack([s.test_x for s, _ in each]))
    return np.array([_both(z, s.test_labels) for z, (s, _) in zip(logits, each)]).reshape(NETS, len(OF_NETS), 2)


def _both(logits, labels):
    """Before the temperature, and after."""
    fit = temperature(from_logits(logits[:HELD]), labels[:HELD])
    new, labels = logits[HELD:], labels[HELD:]
    accuracy = np.mean(new.argmax(1) == labels)
    betas = 1.0, float(fit.params.inverse_temperature)
    return [special.softmax(beta * new, axis=1).max(1).mean() - accuracy for beta in betas]


def _rows(rng, weight, num):
    x = rng.standard_normal((COPIES, num, weight.shape[1]))
    chance = special.expit(np.squeeze(x @ weight, 2))
    return x, (rng.random(chance.shape) < chance).astype(int), chance


def _newton(x, targets):
    """The modes of R logistic regressions with targets in [0, 1]: [R, D, 1]."""
    w = np.zeros((len(x), x.shape[2], 1))
    for _ in range(25):
        p = special.expit(x @ w)
        slope = np.swapaxes(x, 1, 2) @ (p - targets[..., None])
        w = w - np.linalg.solve(np.swapaxes(x, 1, 2) @ (p * (1 - p) * x), slope)
    if not np.abs(slope).max() < 1e-6:
        raise RuntimeError(f"the fit of a claim did not converge: gradient {np.abs(slope).max():.2g}")
    return w
