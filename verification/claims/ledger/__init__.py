"""The ledger: statements that are made of losses, priors, evidence and information, each executed."""

from verification.claims.ledger import information, losses, priors, uncertainty

LEDGER = (*losses.CLAIMS, *priors.CLAIMS, *uncertainty.CLAIMS, *information.CLAIMS)
BY_ID = {claim.id: claim for claim in LEDGER}
