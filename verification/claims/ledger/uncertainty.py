"""Uncertainty: its two parts, and what approximations make of them."""

from verification.claims import approximations, cost, dropout, ensembles, heads, spread, uncertainty
from verification.claims.types import FALSE, HOLDS, HOLDS_IF, Claim

CLAIMS = (
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
        spread.spread_of_members,
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
        "starts that are the prior's. Starts alone give copies of one mode; on networks neither is the posterior, not "
        "even at infinite width, unless the last layer alone is trained.",
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
        heads.heads,
    ),
    Claim(
        "D9",
        "Temperature and MC dropout need no retraining, ensembles do; the cost is T× or M×.",
        "If the network was trained under masks: on another they cost near a nat a row. M members cost M fits; T masks "
        "made within one program cost less than T passes, by what lies before the first mask (a seventh remains with "
        "one hidden layer, half to two thirds with more); stored draws cost T passes.",
        HOLDS_IF,
        cost.what_it_costs,
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
        "On posteriors of one mode without narrow necks, to 1% of an sd where it is Gaussian, by closed forms and "
        "calibration; it does not enter the neck of a funnel, nor cross between modes far apart.",
        HOLDS_IF,
        uncertainty.nuts_is_the_truth,
    ),
)
