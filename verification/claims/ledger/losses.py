"""Losses: the distribution that each stands for, and what it predicts."""

from verification.claims import classes, counts, evidence, information, optimisers, real_line, robustness
from verification.claims.types import FALSE, HOLDS, HOLDS_IF, Claim

CLAIMS = (
    Claim(
        "A1",
        "Minimising MSE is maximising a Gaussian likelihood.",
        "NLL = n/2 · log 2πσ² + SSE/2σ²: the same weights, and σ̂² = MSE; without log σ the scale runs away.",
        HOLDS,
        real_line.squared_error_is_gaussian,
    ),
    Claim(
        "A2",
        "Binary cross-entropy is the Bernoulli's negative log-likelihood.",
        "To the last digits, from logits; clipping probabilities loses everything beyond a logit of about 34.",
        HOLDS,
        classes.binary_cross_entropy_is_bernoulli,
    ),
    Claim(
        "A3",
        "Softmax cross-entropy is the categorical's negative log-likelihood.",
        "To the last digits.",
        HOLDS,
        classes.softmax_cross_entropy_is_categorical,
    ),
    Claim(
        "A4",
        "Best constants: MSE the mean, MAE the median, the quantile loss a quantile, Huber something in between.",
        "All but Huber's: it is an M-estimate of its own and need not lie between mean and median.",
        FALSE,
        real_line.optimal_constants,
    ),
    Claim(
        "A5",
        "MAE is a Laplace likelihood.",
        "With n log 2b: b̂ is the mean absolute deviation.",
        HOLDS,
        real_line.absolute_error_is_laplace,
    ),
    Claim(
        "A6",
        "Huber's loss is a mix of a Gaussian and a Laplace.",
        "One density with a Gaussian core and exponential tails, least favourable at ε = 0.0579 for k = 1.345; no"
        " Gaussian–Laplace mixture has its score.",
        FALSE,
        real_line.huber_is_one_density,
    ),
    Claim(
        "A7",
        "The Poisson loss predicts the rate.",
        "Its best constant is the mean; log y! matters when models are compared.",
        HOLDS,
        counts.poisson_predicts_the_rate,
    ),
    Claim(
        "A8",
        "The Beta likelihood predicts the mean of a proportion.",
        "Where y is Beta; elsewhere its mean is another number than the mean of y.",
        HOLDS_IF,
        counts.beta_predicts_the_mean,
    ),
    Claim(
        "A9",
        "The ordinal loss predicts cumulative probabilities.",
        "Cutpoints in order make probabilities; K = 2 is logistic regression.",
        HOLDS,
        classes.ordinal_probabilities,
    ),
    Claim("A10", "KL(P ‖ Q) ≥ 0, zero only at Q = P, not symmetric.", "So it is.", HOLDS, information.divergence),
    Claim(
        "A11",
        "Maximum likelihood minimises KL(empirical ‖ model).",
        "That one; KL(model ‖ empirical) has another minimum.",
        HOLDS,
        information.maximum_likelihood_is_least_divergence,
    ),
    Claim(
        "A12",
        "Squared error on counts predicts negative ones; Poisson regression mends it.",
        "Where the mean function can follow the data; with a line in time nothing is negative and the Poisson "
        "does worse.",
        HOLDS_IF,
        counts.counts_under_squared_error,
    ),
    Claim(
        "A13",
        "Laplace, Huber and Student likelihoods resist outliers.",
        "Outliers in y. Those in x more than double the error of LAD and Huber.",
        HOLDS_IF,
        robustness.outliers,
    ),
    Claim(
        "A14",
        "Predicting the variance beats a constant one.",
        "Where it varies; known scales give weighted least squares exactly.",
        HOLDS,
        robustness.noise_that_varies,
    ),
    Claim(
        "A15",
        "Squared error predicts outside [0, 1].",
        "Near the bounds; a Bernoulli or Beta mean cannot.",
        HOLDS,
        counts.bounded_targets,
    ),
    Claim(
        "A16",
        "Squared error on labels gives worse probabilities than cross-entropy.",
        "It is a proper score too: a slope loses efficiency, and the gradient vanishes where a model is sure and "
        "wrong. In a saturated model both estimates are the same.",
        HOLDS_IF,
        classes.squared_error_on_labels,
    ),
    Claim(
        "A17",
        "The evidence is intractable, so it is approximated.",
        "It is exact for conjugate models and small networks. Laplace, ELBO, importance and bridge sampling come "
        "within 0.05 nats where the posterior is near a Gaussian; on one tanh unit Laplace and the ELBO do not "
        "(log 2 of their gap is the unit's mirror image).",
        HOLDS_IF,
        evidence.evidence_is_intractable,
    ),
    Claim(
        "A18",
        "Every loss encodes a distribution.",
        "Only where exp(−loss) adds up over y to the same number for every prediction; the hinge's does not.",
        FALSE,
        classes.not_every_loss_is_a_likelihood,
    ),
    Claim(
        "A19",
        "Every optimiser maximises a likelihood.",
        "One that is stopped does not; and where many answers do, the start decides: P_null w₀ + X⁺y.",
        FALSE,
        optimisers.every_optimiser,
    ),
)
