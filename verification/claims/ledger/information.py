"""Information: entropy, cross-entropy, divergence."""

from verification.claims import information
from verification.claims.types import HOLDS, Claim

CLAIMS = (
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
