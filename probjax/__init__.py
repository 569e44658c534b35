"""Machine learning seen as probability, in JAX: densities, approximations of posteriors, predictions."""

from probjax import information, likelihoods, losses, networks, optimize, priors, regularisers, special
from probjax.axis import over_leading_axis
from probjax.density import log_joint, log_likelihood, log_prior, target
from probjax.evidence import empirical_bayes, log_evidence
from probjax.heads import columns, location_and_scale, with_cutpoints, with_learnt, with_learnt_scale
from probjax.inference import dropout, ensemble, full_rank, glm, glm_path, laplace, map_estimate, mean_field, nuts
from probjax.networks import from_linen, from_nnx, linear, mlp
from probjax.numpyro_adapter import target_from_numpyro
from probjax.predictive import joint_log_predictive, log_predictive, predict, predictive_mean, predictive_sd
from probjax.types import Data, Likelihood, Model, Network, NotApplicable, Posterior, Prior, Target, as_model
from probjax.validation import check_inputs

__version__ = "0.1.0"

__all__ = [
    "Data",
    "Likelihood",
    "Model",
    "Network",
    "NotApplicable",
    "Posterior",
    "Prior",
    "Target",
    "as_model",
    "check_inputs",
    "columns",
    "dropout",
    "empirical_bayes",
    "ensemble",
    "from_linen",
    "from_nnx",
    "full_rank",
    "glm",
    "glm_path",
    "information",
    "joint_log_predictive",
    "laplace",
    "likelihoods",
    "linear",
    "location_and_scale",
    "log_evidence",
    "log_joint",
    "log_likelihood",
    "log_predictive",
    "log_prior",
    "losses",
    "map_estimate",
    "mean_field",
    "mlp",
    "networks",
    "nuts",
    "optimize",
    "over_leading_axis",
    "predict",
    "predictive_mean",
    "predictive_sd",
    "priors",
    "regularisers",
    "special",
    "target",
    "target_from_numpyro",
    "with_cutpoints",
    "with_learnt",
    "with_learnt_scale",
]
