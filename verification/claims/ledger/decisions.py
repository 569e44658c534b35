"""What forecasts are used for, and which models are too sure of themselves."""

from verification.claims import confidence, decisions, pooling, soft_targets
from verification.claims.types import FALSE, HOLDS, HOLDS_IF, Claim

CLAIMS = (
    Claim(
        "C2",
        "Neural networks are over-confident, random forests under-confident.",
        "On nine of ten runs over six data sets, if the nets are trained until they fit and the forests have many "
        "trees; not with strong weight decay, not for one tree, and not where labels are noise.",
        HOLDS_IF,
        confidence.nets_and_forests,
    ),
    Claim(
        "C14",
        "Cases of low confidence are better left unanswered.",
        "Where confidence orders the errors: on uniform chances the area under risk and coverage is half the risk of "
        "answering always, whatever the temperature. A threshold needs a bound: chosen by the risk that is seen, the "
        "true one exceeds the target in two samples of five.",
        HOLDS,
        decisions.reject_the_unsure,
    ),
    Claim(
        "C15",
        "Conformal sets cover with probability at least 1 − α, however bad the model, on exchangeable rows.",
        "And at most 1 − α + 1/(n + 1); a threshold's own coverage follows Beta(k, n + 1 − k). Over all rows, not at "
        "each x; under a shift of x, or with scores of rows trained on, it is lost.",
        HOLDS,
        decisions.conformal_sets,
    ),
    Claim(
        "C16",
        "Batch normalisation and weight decay push logits up.",
        "Weight decay shrinks them, and with them the over-confidence, down to under-confidence at 0.01. So does batch "
        "normalisation in small nets on digits; where deep nets were found less calibrated with it, that is no law.",
        FALSE,
        confidence.size_of_logits,
    ),
    Claim(
        "C17",
        "Ensembles and dropout are better calibrated than a single network.",
        "If the members are over-confident. The average of calibrated members is under-confident, by as much as they "
        "disagree.",
        HOLDS_IF,
        pooling.pools,
    ),
    Claim(
        "C18",
        "Label smoothing is useful under label noise and for distillation.",
        "Where half the labels are wrong it spares nats of over-confidence, which a temperature spares better; no more "
        "answers are right. At temperature 4 a smoothed teacher's students are worse than a plain one's: what it knew "
        "of how classes resemble each other is gone.",
        FALSE,
        soft_targets.noise_and_students,
    ),
)
