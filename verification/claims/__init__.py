"""The ledger: statements that are made of losses, priors, evidence and information, each executed."""

from verification.claims import (
    approximations,
    classes,
    counts,
    dropout,
    ensembles,
    evidence,
    information,
    optimisers,
    penalties,
    real_line,
    robustness,
    two_parts,
    uncertainty,
)
from verification.claims.types import FALSE, HOLDS, HOLDS_IF, Claim

LEDGER = (
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
    Claim("B1", "A Gaussian prior is ridge.", "λ = σ²/τ² for SSE + λ‖w‖².", HOLDS, penalties.ridge_is_a_gaussian_prior),
    Claim(
        "B2",
        "A Laplace prior is the lasso.",
        "λ = σ²/b for ½SSE + λ‖w‖₁, of the mode.",
        HOLDS,
        penalties.lasso_is_a_laplace_prior,
    ),
    Claim(
        "B3",
        "A Laplace prior gives high probability to weights that are exactly zero.",
        "It gives none: only the mode is 0, not the mean, not the median; spike and slab has the atom.",
        FALSE,
        penalties.no_mass_at_zero,
    ),
    Claim(
        "B4",
        "Regularising improves the test error.",
        "Where the scale fits the true weights; λ = 10 on weights up to 82 makes it worse.",
        HOLDS_IF,
        penalties.regularising_helps,
    ),
    Claim(
        "B5",
        "Weight decay is a Gaussian prior.",
        "In the gradient. AdamW's decoupled decay ends at least squares without any penalty (no |w| reaches "
        "1/decay here).",
        HOLDS_IF,
        optimisers.weight_decay,
    ),
    Claim(
        "B6",
        "Every regulariser encodes a prior.",
        "Stopped descent is a ridge that depends on x, dropout's penalty grows with n.",
        FALSE,
        optimisers.early_stopping_and_dropout,
    ),
    Claim(
        "B7",
        "With more data maximum likelihood, MAP and posterior agree.",
        "In a regular model, as one Gaussian; not at an edge, and agreement is not truth: with a wrong noise "
        "scale 95% intervals cover 67%.",
        HOLDS_IF,
        evidence.more_data,
    ),
    Claim(
        "B8",
        "Heavier tails make a prior sparsifying.",
        "The kink at 0 does; Student's t has heavier tails and no zeros.",
        FALSE,
        penalties.tails_and_zeros,
    ),
    Claim(
        "D1",
        "Aleatoric uncertainty is irreducible, epistemic falls with data.",
        "For fixed covariates and a right model: σ² stays, xᵀΣₙx falls as 1/n. A covariate that is measured moves "
        "the first, and round a wrong f the second falls all the same.",
        HOLDS_IF,
        uncertainty.two_kinds,
    ),
    Claim(
        "D2",
        "Total variance is the mean of the variances plus the variance of the means.",
        "With M in the denominator; with entropies the second part is the mutual information.",
        HOLDS,
        uncertainty.total_variance,
    ),
    Claim(
        "D3",
        "The epistemic part of an ensemble or of dropout is epistemic.",
        "It is the spread of what is drawn anew: of starts (0 where there is one mode), of anchors alone (xᵀΣΣx/τ² for "
        "xᵀΣx), of masks (it does not fall with n). With anchors and noise drawn anew it is the posterior's where f is "
        "linear and the noise Gaussian.",
        FALSE,
        two_parts.spread_of_members,
    ),
    Claim(
        "D4",
        "Bootstrap ensembles widen in a data gap.",
        "Where f in the gap hangs on the weights that the rows determine, and then by the posterior's factor. With "
        "features of its own there the bootstrap narrows where the posterior is widest.",
        HOLDS_IF,
        ensembles.bootstrap_in_a_gap,
    ),
    Claim(
        "D5",
        "MC dropout approximates the Bayesian posterior.",
        "Its variance is rate/(1 − rate) Σ w²x², a multiple of what the masked units say: it does not shrink with data "
        "(sd 0.92 where the posterior's is 0.001), is 0 where they are 0, and vanishes in wide networks. To have the "
        "posterior's at a million rows the rate must be 1/(n · slope²).",
        FALSE,
        dropout.approximates_the_posterior,
    ),
    Claim(
        "D6",
        "MC dropout's uncertainty grows outside the data.",
        "With ReLUs, as the distance; of tanh units it stays constant, and what counts is the distance from where the "
        "units are 0, not from the data. Beside a sine its 2-sd intervals hold few of the values; so do those of an "
        "exact posterior whose prior knows no sines.",
        HOLDS_IF,
        dropout.grows_outside_the_data,
    ),
    Claim(
        "D7",
        "Deep ensembles approximate the posterior predictive.",
        "In models linear in their weights: with anchors and noise drawn anew, or without noise and penalty from "
        "starts that are the prior's. Starts alone give copies of one mode; on networks neither is the posterior.",
        HOLDS_IF,
        ensembles.members_as_draws,
    ),
    Claim(
        "D8",
        "Heteroscedastic heads give aleatoric and epistemic uncertainty.",
        "The mixture's variance is their sum, and σ(x) is the noise's with many rows; the spread of μ over heads is "
        "not the posterior's, not even the part that their σ² lacks. Where f is hard, its errors pass for noise; "
        "β-NLL makes that less.",
        FALSE,
        two_parts.heads,
    ),
    Claim(
        "D9",
        "Temperature and MC dropout need no retraining, ensembles do; the cost is T× or M×.",
        "If the network was trained under masks: on another they cost near a nat a row. M members cost M fits; T "
        "masks far less than T passes, for what lies before the first mask is computed once.",
        HOLDS_IF,
        approximations.what_it_costs,
    ),
    Claim(
        "D10",
        "Laplace, mean-field, full-rank, flows, SWAG, SGLD and last layers approximate the posterior.",
        "On a Gaussian Laplace, full-rank, flows and a last layer that is all there is have it; mean-field has 1/Λᵢᵢ, "
        "SGLD Λ⁻¹(I − εΛ/4)⁻¹, SWAG ½ diag(S) + ½ S of SGD. On one tanh unit Laplace misses sds by a fifth, the last "
        "layer by half.",
        HOLDS_IF,
        approximations.of_the_posterior,
    ),
    Claim(
        "D11",
        "NUTS is the ground truth.",
        "On posteriors of one mode, to 1% of an sd where it is Gaussian, by closed forms and calibration; it does not "
        "cross between modes far apart.",
        HOLDS_IF,
        uncertainty.nuts_is_the_truth,
    ),
    Claim(
        "E1",
        "H(P, Q) = H(P) + KL(P ‖ Q).",
        "Zeros included; clipping misses by 4e-10 on the usual example.",
        HOLDS,
        information.cross_entropy_is_entropy_and_divergence,
    ),
    Claim(
        "E2",
        "For one-hot targets cross-entropy is KL, −log q at the label.",
        "H(P) = 0 there, and only there.",
        HOLDS,
        information.one_hot_targets,
    ),
    Claim(
        "E3",
        "Where Q has no mass and P has some, KL is infinite.",
        "And stays so unless it is clipped; gradients are finite where they exist.",
        HOLDS,
        information.mass_where_there_is_none,
    ),
)
BY_ID = {claim.id: claim for claim in LEDGER}
