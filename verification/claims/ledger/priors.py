"""Priors and regularisers: what a penalty says of the weights."""

from verification.claims import evidence, optimisers, penalties
from verification.claims.types import FALSE, HOLDS, HOLDS_IF, Claim

CLAIMS = (
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
)
