"""The ledger: statements made of losses, priors, scores, calibration, evidence and uncertainty, each executed."""

from verification.claims.ledger import decisions, information, losses, priors, recalibration, scores, uncertainty

CALIBRATION = sorted(
    (*scores.CLAIMS, *recalibration.CLAIMS, *decisions.CLAIMS), key=lambda claim: int(claim.id.removeprefix("C"))
)
LEDGER = (*losses.CLAIMS, *priors.CLAIMS, *CALIBRATION, *uncertainty.CLAIMS, *information.CLAIMS)
BY_ID = {claim.id: claim for claim in LEDGER}
