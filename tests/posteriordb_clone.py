"""What the tests of posteriordb share: the density of a port, Student's t in closed form, a clone made here."""

import json
import zipfile
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats
from scipy.special import expit

from verification import posteriordb as ports
from verification.exact.reference import LEVELS

HELD = (  # by the slice that the exact values come with
    "GLM_Binomial_data-GLM_Binomial_model",
    "arK-arK",
    "earnings-logearn_height_male",
    "eight_schools-eight_schools_noncentered",
    "gp_pois_regr-gp_regr",
    "kidiq-kidscore_interaction",
    "kidiq-kidscore_momhs",
    "low_dim_gauss_mix-low_dim_gauss_mix",
    "mesquite-mesquite",
    "nes1980-nes",
    "nes_logit_data-nes_logit_model",
    "radon_mn-radon_partially_pooled_noncentered",
    "sblrc-blr",
    "sblri-blr",
    "wells_data-wells_dist",
    "wells_data-wells_dist100_model",
)


@cache
def built(directory, name):
    return ports.build(directory, name)


def assert_students_t(reference, x, y):
    """Flat β and σ on (0, ∞): β | y is Student's t with N − D − 1 degrees of freedom, and 1/σ² is Gamma."""
    dof, best = len(y) - x.shape[1] - 1, np.linalg.lstsq(x, y, rcond=None)[0]
    squares = np.sum((y - x @ best) ** 2)
    t = stats.t(dof, best, np.sqrt(squares / dof * np.diag(np.linalg.inv(x.T @ x))))
    np.testing.assert_allclose((reference.mean[:-1] - best) / t.std(), 0, atol=1e-8)
    np.testing.assert_allclose(reference.sd[:-1], t.std(), rtol=1e-8)
    table = np.stack([t.ppf(p) for p in LEVELS])
    np.testing.assert_allclose((reference.quantiles[:, :-1] - table) / t.std(), 0, atol=1e-8)
    noise = np.sqrt(squares / stats.chi2(dof).ppf(1 - np.array(LEVELS)))
    np.testing.assert_allclose(reference.quantiles[:, -1], noise, rtol=1e-8)


@jax.jit
def evaluate(log_density, params, data):
    return log_density(params, data)


def log_joint(problem, params):
    return float(evaluate(problem.model.log_joint, jax.tree.map(jnp.asarray, params), problem.data))


def made_data():
    """{data name: fields} of the layouts that the database describes."""
    rng, n = np.random.default_rng(8), 60
    iq, hs = rng.normal(100, 15, n), rng.integers(0, 2, n)
    score = 25 + 5 * hs + 0.6 * iq + rng.normal(0, 18, n)
    work = np.arange(n) % 4 + 1
    height, male = rng.normal(66, 4, n), rng.integers(0, 2, n)
    sizes = {name: rng.lognormal(0.3, 0.4, n) for name in ("diam1", "diam2", "canopy_height", "total_height")}
    nes = {"real_ideo": 7, "educ1": 4, "gender": 2, "income": 5, "age_discrete": 4, "partyid7": 7}
    distance, arsenic = rng.gamma(2, 25, 6 * n), rng.gamma(2, 0.8, 6 * n)
    switched = rng.uniform(size=6 * n) < expit(0.2 - distance / 100 + 0.4 * arsenic)
    kid = {"kid_score": score, "mom_hs": hs, "mom_iq": iq}
    data = {
        "kidiq": kid,
        "kidiq_with_mom_work": {**kid, "mom_work": work},
        "earnings": {"earn": rng.lognormal(9.5, 0.9, n), "height": height, "male": male},
        "mesquite": {
            **sizes,
            "density": rng.integers(1, 9, n),
            "group": rng.integers(0, 2, n),
            "weight": rng.lognormal(6, 0.8, n),
        },
        "wells_data": {"switched": switched.astype(int), "dist": distance, "arsenic": arsenic},
    }
    for year in (1972, 1976, 1984, 1988, 1992, 1996, 2000):
        columns = {field: rng.integers(1, top + 1, n) for field, top in nes.items()}
        data[f"nes{year}"] = {**columns, "race_adj": rng.choice([1, 1.5, 2], n)}
    return {
        name: {"N": len(next(iter(fields.values()))), **{f: np.asarray(v).tolist() for f, v in fields.items()}}
        for name, fields in data.items()
    }


def write_zip(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(path.stem, text)


def make_clone(folder, data, names):
    root = folder / "posterior_database"
    for part in ("posteriors", "data/data", "models/info"):
        (root / part).mkdir(parents=True)
    for name in names:
        data_name = name.rsplit("-", 1)[0]
        entry = {"name": name, "data_name": data_name, "reference_posterior_name": None}
        (root / "posteriors" / f"{name}.json").write_text(json.dumps(entry))
        write_zip(root / "data" / "data" / f"{data_name}.json.zip", json.dumps(data[data_name]))
    return root
