"""Posteriors that the slice does not hold, from a clone made here: designs, priors, names and answers."""

import numpy as np
import pytest
from posteriordb_clone import HELD, assert_students_t, built, log_joint, made_data, make_clone
from scipy import stats
from scipy.special import expit

from verification import posteriordb as ports
from verification.exact import binomial_regression

MADE = [name for name in ports.PORTS if name not in HELD]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clone")
    make_clone(folder, made_data(), [*MADE, "kidiq-kidscore_momhs", "wells_data-wells_dist"])
    return folder


def sd(v):
    return np.std(v, ddof=1)


MOTHERS = lambda d, hs, iq: (d["kid_score"], [hs, iq, hs * iq])
LOGS = lambda d: {field: np.log(d[field]) for field in d if field not in ("N", "group")}
DESIGNS = {  # name -> (response, inputs), written down again
    "kidscore_momiq": lambda d: (d["kid_score"], [d["mom_iq"]]),
    "kidscore_momhsiq": lambda d: (d["kid_score"], [d["mom_hs"], d["mom_iq"]]),
    "kidscore_mom_work": lambda d: (d["kid_score"], [d["mom_work"] == k for k in (2, 3, 4)]),
    "kidscore_interaction_c": lambda d: MOTHERS(d, d["mom_hs"] - d["mom_hs"].mean(), d["mom_iq"] - d["mom_iq"].mean()),
    "kidscore_interaction_c2": lambda d: MOTHERS(d, d["mom_hs"] - 0.5, d["mom_iq"] - 100),
    "kidscore_interaction_z": lambda d: MOTHERS(
        d, *((d[f] - d[f].mean()) / (2 * sd(d[f])) for f in ("mom_hs", "mom_iq"))
    ),
    "earn_height": lambda d: (d["earn"], [d["height"]]),
    "logearn_height": lambda d: (np.log(d["earn"]), [d["height"]]),
    "log10earn_height": lambda d: (np.log(d["earn"]) / np.log(10), [d["height"]]),
    "logearn_logheight_male": lambda d: (np.log(d["earn"]), [np.log(d["height"]), d["male"]]),
    "logearn_interaction": lambda d: (np.log(d["earn"]), [d["height"], d["male"], d["height"] * d["male"]]),
    "logearn_interaction_z": lambda d: (
        np.log(d["earn"]),
        [z := (d["height"] - d["height"].mean()) / sd(d["height"]), d["male"], z * d["male"]],
    ),
    "logmesquite": lambda d: (
        np.log(d["weight"]),
        [LOGS(d)[f] for f in ("diam1", "diam2", "canopy_height", "total_height", "density")] + [d["group"]],
    ),
    "logmesquite_logvolume": lambda d: (np.log(d["weight"]), [np.log(d["diam1"] * d["diam2"] * d["canopy_height"])]),
    "logmesquite_logva": lambda d: (
        np.log(d["weight"]),
        [np.log(d["diam1"] * d["diam2"] * d["canopy_height"]), np.log(d["diam1"] * d["diam2"]), d["group"]],
    ),
    "logmesquite_logvas": lambda d: (
        np.log(d["weight"]),
        [
            np.log(d["diam1"] * d["diam2"] * d["canopy_height"]),
            np.log(d["diam1"] * d["diam2"]),
            np.log(d["diam1"] / d["diam2"]),
            np.log(d["total_height"]),
            np.log(d["density"]),
            d["group"],
        ],
    ),
    "logmesquite_logvash": lambda d: (
        np.log(d["weight"]),
        [
            np.log(d["diam1"] * d["diam2"] * d["canopy_height"]),
            np.log(d["diam1"] * d["diam2"]),
            np.log(d["diam1"] / d["diam2"]),
            np.log(d["total_height"]),
            d["group"],
        ],
    ),
    "nes": lambda d: (
        d["partyid7"],
        [
            *(d["real_ideo"], d["race_adj"]),
            *(d["age_discrete"] == k for k in (2, 3, 4)),
            *(d["educ1"], d["gender"], d["income"]),
        ],
    ),
    "wells_dist100ars_model": lambda d: (d["switched"], [d["dist"] / 100, d["arsenic"]]),
    "wells_interaction_model": lambda d: (
        d["switched"],
        [d["dist"] / 100, d["arsenic"], d["dist"] / 100 * d["arsenic"]],
    ),
    "wells_interaction_c_model": lambda d: (
        d["switched"],
        [a := (d["dist"] - d["dist"].mean()) / 100, b := d["arsenic"] - d["arsenic"].mean(), a * b],
    ),
}


@pytest.mark.parametrize("name", MADE)
def test_ports_beyond_the_slice_are_the_densities_of_their_descriptions(name, made):
    """Design, priors and parameter names; and the answer: for flat noise Student's t, for the rest its certificate."""
    problem = built(str(made), name)
    raw = {f: np.asarray(v, float) for f, v in made_data()[name.rsplit("-", 1)[0]].items()}
    y, inputs = DESIGNS[name.rsplit("-", 1)[1]](raw)
    x = np.column_stack([np.ones(len(y)), *inputs])
    beta = np.linalg.lstsq(x, y, rcond=None)[0] * 1.01
    if name.startswith("wells"):
        expected = stats.bernoulli.logpmf(y, expit(x @ beta)).sum()
        params = {"alpha": beta[0], "beta": beta[1:]}
    else:
        u = np.log(np.std(y))
        expected = stats.norm.logpdf(y, x @ beta, np.exp(u)).sum() + u
        expected += stats.halfcauchy.logpdf(np.exp(u), 0, 2.5) if name.startswith("kidiq-") else 0.0
        params = {"beta": beta, "sigma": u}
    assert log_joint(problem, params) == pytest.approx(expected, rel=1e-10)
    reference = problem.reference
    assert reference.certificate.error < 1e-6 and reference.certificate.agreement < 1e-6
    assert reference.names[-1] == (f"beta[{len(beta) - 1}]" if name.startswith("wells") else "sigma")
    if not name.startswith(("wells", "kidiq-")):
        assert_students_t(reference, x, y)


def test_a_logistic_answer_equals_quadrature_of_the_plain_density(made):
    """Intercept and slope by SciPy's adaptive rule over the plane."""
    from scipy import integrate

    problem = built(str(made), "wells_data-wells_dist")
    x, y, r = np.asarray(problem.data["x"]).ravel(), np.asarray(problem.data["y"]), problem.reference
    log_density = lambda a, b: np.sum(y * (a + b * x) - np.logaddexp(0, a + b * x))
    top = log_density(*r.mean)
    box = [(m - 8 * s, m + 8 * s) for m, s in zip(r.mean, r.sd)]
    integral = lambda f: integrate.nquad(
        lambda a, b: f(a, b) * np.exp(log_density(a, b) - top), box, opts={"epsabs": 1e-13, "epsrel": 1e-9}
    )[0]
    total = integral(lambda a, b: 1.0)
    assert integral(lambda a, b: (a - r.mean[0]) / r.sd[0]) / total == pytest.approx(0, abs=1e-8)
    assert integral(lambda a, b: ((b - r.mean[1]) / r.sd[1]) ** 2) / total == pytest.approx(1, abs=1e-7)


def test_separated_data_under_flat_priors_have_no_mode():
    x = np.column_stack([np.ones(20), np.arange(20.0)])
    data = binomial_regression.single_trials(x, (np.arange(20) > 9).astype(float))
    with pytest.raises(ValueError, match="found no mode; a flat prior needs"):
        binomial_regression.binomial_regression(("a", "b"), data)


def test_other_data_by_the_same_name_are_solved_anew(tmp_path):
    name, data = "kidiq-kidscore_momhs", made_data()
    make_clone(tmp_path / "a", data, [name])
    data["kidiq"]["kid_score"][0] += 30.0
    make_clone(tmp_path / "b", data, [name])
    first, second = (ports.build(tmp_path / part, name).reference for part in "ab")
    assert np.abs(first.mean - second.mean).max() > 0.01
