"""The linear regressions of Gelman & Hill 2006, chapters 3 and 4, coefficients flat. The scores of `kidiq` have a
half-Cauchy prior on their noise; those of `kidiq_with_mom_work`, and all others, a flat one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from verification.posteriordb.port import column
from verification.posteriordb.regression import categories, columns, regression, response_of, standard, with_product


def _reference_points(raw):
    hs, iq = column(raw, "mom_hs") - 0.5, column(raw, "mom_iq") - 100.0
    return [hs, iq, hs * iq]


def _height_by_sex(raw):
    height, male = standard(column(raw, "height")), column(raw, "male")
    return [height, male, height * male]


def _party_inputs(raw):
    early = columns("real_ideo", "race_adj")(raw)
    return early + categories("age_discrete", 2, 3, 4)(raw) + columns("educ1", "gender", "income")(raw)


def _canopy(*parts: str) -> Callable:
    """Logarithms of a bush's canopy volume, area and shape (ratio of its diameters), and of other fields."""

    def inputs(raw):
        log = {field: response_of(field, np.log)(raw) for field in ("diam1", "diam2", "canopy_height")}
        area = log["diam1"] + log["diam2"]
        made = {"volume": area + log["canopy_height"], "area": area, "shape": log["diam1"] - log["diam2"], **log}
        return [
            made[p] if p in made else column(raw, p) if p == "group" else response_of(p, np.log)(raw) for p in parts
        ]

    return inputs


_score, _weight = response_of("kid_score"), response_of("weight", np.log)
_earn, _log_earn = response_of("earn"), response_of("earn", np.log)

PORTS = {
    "kidiq-kidscore_interaction": regression(
        "children's test scores by mother's school × IQ", "half-Cauchy", _score, with_product("mom_hs", "mom_iq")
    ),
    "kidiq-kidscore_momhs": regression(
        "children's test scores by mother's school", "half-Cauchy", _score, columns("mom_hs")
    ),
    "kidiq-kidscore_momiq": regression(
        "children's test scores by mother's IQ", "half-Cauchy", _score, columns("mom_iq")
    ),
    "kidiq-kidscore_momhsiq": regression(
        "children's test scores by mother's school and IQ", "half-Cauchy", _score, columns("mom_hs", "mom_iq")
    ),
    "kidiq_with_mom_work-kidscore_mom_work": regression(
        "children's test scores by mother's work", "flat", _score, categories("mom_work", 2, 3, 4)
    ),
    "kidiq_with_mom_work-kidscore_interaction_c": regression(
        "children's test scores, centred inputs and product",
        "flat",
        _score,
        with_product("mom_hs", "mom_iq", of=lambda v: v - v.mean()),
    ),
    "kidiq_with_mom_work-kidscore_interaction_c2": regression(
        "children's test scores, inputs from reference points", "flat", _score, _reference_points
    ),
    "kidiq_with_mom_work-kidscore_interaction_z": regression(
        "children's test scores, inputs in units of two sd",
        "flat",
        _score,
        with_product("mom_hs", "mom_iq", of=lambda v: standard(v) / 2),
    ),
    "earnings-earn_height": regression("earnings by height", "flat", _earn, columns("height")),
    "earnings-logearn_height": regression("log earnings by height", "flat", _log_earn, columns("height")),
    "earnings-log10earn_height": regression(
        "log₁₀ earnings by height", "flat", response_of("earn", np.log10), columns("height")
    ),
    "earnings-logearn_height_male": regression(
        "log earnings by height and sex", "flat", _log_earn, columns("height", "male")
    ),
    "earnings-logearn_logheight_male": regression(
        "log earnings by log height and sex",
        "flat",
        _log_earn,
        lambda raw: [response_of("height", np.log)(raw), column(raw, "male")],
    ),
    "earnings-logearn_interaction": regression(
        "log earnings by height × sex", "flat", _log_earn, with_product("height", "male")
    ),
    "earnings-logearn_interaction_z": regression(
        "log earnings by standardised height × sex", "flat", _log_earn, _height_by_sex
    ),
    "mesquite-mesquite": regression(
        "leaf weight of mesquite bushes",
        "flat",
        response_of("weight"),
        columns("diam1", "diam2", "canopy_height", "total_height", "density", "group"),
    ),
    "mesquite-logmesquite": regression(
        "log leaf weight by log sizes",
        "flat",
        _weight,
        _canopy("diam1", "diam2", "canopy_height", "total_height", "density", "group"),
    ),
    "mesquite-logmesquite_logvolume": regression(
        "log leaf weight by canopy volume", "flat", _weight, _canopy("volume")
    ),
    "mesquite-logmesquite_logva": regression(
        "log leaf weight by canopy volume and area", "flat", _weight, _canopy("volume", "area", "group")
    ),
    "mesquite-logmesquite_logvas": regression(
        "log leaf weight by canopy volume, area, shape",
        "flat",
        _weight,
        _canopy("volume", "area", "shape", "total_height", "density", "group"),
    ),
    "mesquite-logmesquite_logvash": regression(
        "log leaf weight by canopy volume, area, shape, height",
        "flat",
        _weight,
        _canopy("volume", "area", "shape", "total_height", "group"),
    ),
    **{
        f"nes{year}-nes": regression(f"party identification, {year}", "flat", response_of("partyid7"), _party_inputs)
        for year in (1972, 1976, 1980, 1984, 1988, 1992, 1996, 2000)
    },
}
