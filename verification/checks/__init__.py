"""What is compared with the exact answer: a check turns replications into errors and standard errors, one a query.

Units: means and quantiles in posterior sd; sds relative to the posterior sd; correlations as they are; distribution
functions and classes as probabilities; the joint log predictive in nats per new row, the evidence in nats.
"""

from verification.checks import classes, distribution, evidence, importance, moments
from verification.checks.check import ALPHA, Check, Estimate
from verification.checks.moments import COLLAPSED
from verification.checks.summaries import MIN_DRAWS_FOR_QUANTILES, Summaries, placeholder, pool, summarise

CHECKS = (
    Check("mean", {"default": 0.05, "full": 0.025}, "posterior sd", moments.mean),
    Check("sd", {"default": 0.05, "full": 0.025}, "of the posterior sd", moments.sd),
    Check("q05", {"default": 0.10, "full": 0.05}, "posterior sd", moments.quantile("q05")),
    Check("q95", {"default": 0.10, "full": 0.05}, "posterior sd", moments.quantile("q95")),
    Check("correlation", {"default": 0.05, "full": 0.025}, "", moments.correlation),
    Check(
        "log_predictive",
        {"default": 0.02, "full": 0.01},
        "nats a row",
        moments.log_predictive,
        moments.predictive_error,
    ),
    Check("ks", {"default": 0.03, "full": 0.015}, "probability", distribution.kolmogorov_smirnov),
    Check("w1", {"default": 0.05, "full": 0.025}, "posterior sd", distribution.wasserstein),
    Check("total_variation", {"default": 0.01, "full": 0.005}, "probability", classes.total_variation),
    Check("agreement", {"default": 0.05, "full": 0.025}, "of the decisions", classes.agreement),
    Check("evidence", {"default": 0.05, "full": 0.02}, "nats", evidence.log_evidence),
    Check("elbo", {"default": 0.05, "full": 0.02}, "nats above the evidence", evidence.elbo, one_sided=True),
    Check(
        "pareto_k",
        {"default": importance.USABLE, "full": importance.USABLE},
        "",
        importance.mean_pareto_k,
        reference_error=lambda reference: 0.0,
        one_sided=True,
        closeness=0.1,
    ),
)

__all__ = [
    "ALPHA",
    "CHECKS",
    "COLLAPSED",
    "MIN_DRAWS_FOR_QUANTILES",
    "Check",
    "Estimate",
    "Summaries",
    "placeholder",
    "pool",
    "summarise",
]
