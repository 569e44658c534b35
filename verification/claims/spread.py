"""What the spread of members is, one of two parts of a predictive variance."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from probjax import anchored, dropout, ensemble, randomised_map
from verification.claims.members import NEAR, one_step, sd_error
from verification.claims.parts import BAD, THIRD, TRUTH
from verification.claims.types import CONTROL, INSTEAD, REFUTED, Finding, Measurement
from verification.limits.ensembles import gaussian_dropout
from verification.work import build_problem

RATE = 0.1
RUNS, MEMBERS = 16, 4000


def spread_of_members(rng) -> Finding:
    """The variance over members of f(x) = wᵀx in a linear regression, where the posterior's own is xᵀΣx. Members that
    differ by their starts: 0, there is one mode. Anchored ones: xᵀΣΣx/τ² (Pearce et al. 2020). Under dropout: rate/(1 −
    rate) Σ w²x², w the adaptive-ridge solution (Wager et al. 2013), whatever n. Where anchors and noise are both drawn
    anew: xᵀΣx itself (Bardsley et al. 2014)."""
    keys = jax.random.split(jax.random.key(int(rng.integers(2**31))), 5)
    problem, network = (build_problem(name, None) for name in ("linear", "network_one_unit"))
    s = problem.linear
    members = lambda method, m: partial(method, num_members=m, fit=one_step, batch_size=m)
    plain, anchors, both = (
        _variances(key, members(method, m), problem)
        for key, method, m in zip(keys, (ensemble, anchored, randomised_map), (2, MEMBERS, MEMBERS))
    )
    masks = lambda num_draws: partial(dropout, rate=RATE, num_draws=num_draws)
    masked, masked_network = (
        _variances(k, masks(m), p) for k, m, p in ((keys[3], 20_000, problem), (keys[4], 500, network))
    )
    law = _laws(s)
    exact, anchored_law, dropout_law = law["posterior"], law["anchored"], law["dropout"]
    moving = dropout_law > 1e-12  # the intercept is not masked
    kept = _laws(_copied(s, 100))["dropout"][moving] / dropout_law[moving]
    of = "sd over members against the posterior's sd, worst of {}, relative"
    on = lambda what: f"linear regression, {what}: " + of.format(len(exact))
    one_row = _copied(s, 1, rows=1)
    member = one_row.queries @ one_row.posterior[0]
    copies = np.tile(np.var([member, member], axis=0), (2, 1))
    return Finding(
        [
            near(REFUTED, on("starts"), plain, exact),
            near(REFUTED, on("anchors"), anchors, exact),
            near(REFUTED, on("dropout"), masked, exact),
            near(REFUTED, "one tanh unit, dropout: " + of.format(10), masked_network, network.reference.sd),
            near(INSTEAD, on("anchors and noise"), both, exact),
            near(INSTEAD, "anchors: the same against √(xᵀΣΣx)/τ", anchors, anchored_law),
            # the fit is stochastic: its weights end a few percent from the optimum
            near(INSTEAD, "dropout: the same against its law", masked[:, moving], dropout_law[moving], 2 * NEAR),
            Measurement(
                INSTEAD, "dropout's sd with every row seen 100 times over that before", kept.min(), 0.9, at_least=True
            ),
            near(CONTROL, "copies of one member, one row seen: the same", copies, _laws(one_row)["posterior"]),
            near(
                CONTROL,
                "dropout against its law with rate and 1 − rate exchanged",
                masked[:, moving],
                (dropout_law * (1 - RATE) / RATE)[moving],
            ),
        ],
        lambda ax: _draw_laws(ax, s, {"anchored": anchors, "dropout": masked, "posterior": both}),
    )


def near(role, what, variances, exact, bound=NEAR):
    """The worst relative error of √(the mean over runs of variances [R, Q]) against exact sds [Q]."""
    value, margin = sd_error(variances, exact)
    return Measurement(role, what, value, bound, margin)


def _variances(key, method, problem):
    """Over members, of the problem's queries: [R, Q]."""

    def one(key):
        return jnp.var(jax.vmap(problem.query)(method(key, problem.model, problem.data).draws), axis=0, ddof=1)

    return np.asarray(jax.jit(lambda keys: jax.lax.map(one, keys))(jax.random.split(key, RUNS)))


def _copied(s, copies, rows=None):
    """A regression with each of its (first) rows seen again and again."""
    return s._replace(design=np.tile(s.design[:rows], (copies, 1)), y=np.tile(s.y[:rows], copies))


def _laws(s):
    """The sds of the queries in closed form."""
    half = np.linalg.solve(s.posterior[1], s.queries.T)
    return {
        "posterior": np.sqrt(np.sum(half * s.queries.T, axis=0)),
        "anchored": np.linalg.norm(half, axis=0) / s.prior_scale,
        "dropout": np.sqrt(s.queries**2 @ gaussian_dropout(s, RATE)[1]),
    }


_SHOWN = {
    "posterior": (TRUTH, "posterior (points: anchors and noise drawn anew)"),
    "anchored": (BAD, "anchors alone"),
    "dropout": (THIRD, f"dropout, rate {RATE}"),
}


def _draw_laws(ax, s, found):
    copies, query = np.unique(np.geomspace(1, 1000, 16).astype(int)), s.names.index("f(1,-1)")
    laws = [_laws(_copied(s, c)) for c in copies]
    for name, (colour, label) in _SHOWN.items():
        ax.loglog(len(s.y) * copies, [law[name][query] for law in laws], color=colour, label=label)
        ax.plot(len(s.y), np.sqrt(found[name].mean(0)[query]), "o", color=colour)
    ax.plot([], [], " ", label="starts alone: 0")
    ax.set(xlabel="rows; points: members at 20 rows", ylabel="sd of f(1, −1) over members")
    ax.legend(frameon=False)
