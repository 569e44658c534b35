"""Which models are too sure of themselves, and what in their training makes them so."""

from __future__ import annotations

import numpy as np
from scipy.special import log_softmax, softmax

from verification.claims import small_nets as nets
from verification.claims.parts import BAD, GOOD, THIRD, TRUTH
from verification.claims.replicated import average
from verification.claims.types import CONTROL, INSTEAD, REFUTED, UNDER, WITHOUT, Finding

SPLITS, TRAIN = 10, 200
STRONG = 0.1  # a weight decay
TREES = 100
MOST = 0.7  # of the runs, with its margin


def signed_error(probs: np.ndarray, labels: np.ndarray) -> float:
    """The mean probability of the most likely class less the share of rows where it is right: above 0 over-confident,
    below 0 under-confident."""
    return float(np.mean(probs.max(1)) - np.mean(probs.argmax(1) == labels))


def nets_and_forests(rng) -> Finding:
    """Confidence less accuracy on six data sets, ten random halves of each (at most 200 rows to train on): networks of
    two hidden layers, trained until they fit, and forests of 100 full trees. Intervals are over halves and starts,
    given the data sets.

    Neither is a property of the kind of model. A net with strong weight decay does not reach the confidence that its
    accuracy would allow. A full tree is sure of every row and over-confident; votes over many trees spread wherever
    trees differ, though the label is certain (Niculescu-Mizil & Caruana 2005), and where labels are noise they spread
    too little."""
    splits = {name: [nets.split(rng, name, TRAIN) for _ in range(SPLITS)] for name in nets.SETS}
    every = [data for each in splits.values() for data in each]
    shrunk = splits["odd digits"]
    decay = np.append(np.zeros(len(every)), np.full(len(shrunk), STRONG))
    net = _net_errors(rng, [*every, *shrunk], decay)
    net, strong = net[: len(every)].reshape(len(splits), SPLITS), net[len(every) :]
    forest = np.array([[_forest_error(rng, data) for data in each] for each in splits.values()])
    tree = np.array([_forest_error(rng, data, num_trees=1) for data in splits["odd digits"]])
    shuffled = np.array([_forest_error(rng, _shuffled(rng, data)) for data in splits["breast cancer"]])
    share = "share of 60 runs in which {}-confident"
    mean = "confidence less accuracy, mean over six sets: {}"
    return Finding(
        [
            average(UNDER, mean.format("nets"), net.mean(0), 0.0, at_least=True),
            average(UNDER, share.format("nets are over"), np.mean(net > 0, axis=0), MOST, at_least=True),
            average(UNDER, mean.format("forests"), forest.mean(0), 0.0),
            average(UNDER, share.format("forests are under"), np.mean(forest < 0, axis=0), MOST, at_least=True),
            average(WITHOUT, f"odd digits: nets with weight decay {STRONG}", strong, 0.0, at_least=True),
            average(WITHOUT, "odd digits: forests of one tree", tree, 0.0),
            average(CONTROL, "breast cancer, labels shuffled: forests", shuffled, 0.0),
        ],
        lambda ax: _draw_sets(ax, list(splits), net, forest),
    )


def _net_errors(rng, splits, decay):
    targets = [nets.one_hot(data.labels) for data in splits]
    num_classes = np.array([data.num_classes for data in splits])
    trained = nets.train(rng, [data.x for data in splits], targets, nets.Recipe(decay=decay), num_classes)
    found = nets.logits(trained, nets.stacked([data.test_x for data in splits]))
    probs = (softmax(z[: len(data.test_x)], axis=1) for z, data in zip(found, splits))
    return np.array([signed_error(p, data.test_labels) for p, data in zip(probs, splits)])


def _forest_error(rng, data, num_trees=TREES):
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(num_trees, random_state=int(rng.integers(2**31)), n_jobs=1)
    return signed_error(forest.fit(data.x, data.labels).predict_proba(data.test_x), data.test_labels)


def _shuffled(rng, data):
    return data._replace(labels=rng.permutation(data.labels), test_labels=rng.permutation(data.test_labels))


def _draw_sets(ax, names, net, forest):
    place = np.arange(len(names))
    for errors, colour, label, shift in ((net, BAD, "networks", 0.15), (forest, GOOD, "forests of 100 trees", -0.15)):
        ax.plot(errors.T, np.tile(place + shift, (SPLITS, 1)), ".", color=colour, alpha=0.4, ms=5)
        ax.plot(errors.mean(1), place + shift, "D", color=colour, label=label)
    ax.axvline(0, color=TRUTH, lw=1)
    ax.set_yticks(place, names)
    ax.set(xlabel="confidence less accuracy: ten splits, and their mean")
    ax.legend(frameon=False, loc="lower left")


ARMS = {  # weight decay, batch norm
    "plain": (0.0, 0.0),
    "other starts": (0.0, 0.0),
    "decay 0.01": (1e-2, 0.0),
    "batch norm": (0.0, 1.0),
    "both": (1e-2, 1.0),
}
DIGIT_SPLITS = 12
SHRUNK = -0.4  # to two thirds


def size_of_logits(rng) -> Finding:
    """Digits, 200 rows to train on: root mean square of the logits of test rows, centred over the classes, in nets that
    differ in one thing, on a logarithmic scale against the plain net of the same split.

    The penalty λ/2 · Σw² has a gradient towards 0 at every weight, so it shrinks logits; Guo et al. (2017, §3) found
    that *less* decay hurts calibration. They saw deep convolutional nets with batch norm less well calibrated than
    without; that is no law, and here its logits are the smaller ones."""
    splits = [nets.split(rng, "digits", TRAIN) for _ in range(DIGIT_SPLITS)]
    found = _digit_nets(rng, splits)
    grown = {name: np.log(size / found["plain"][0]) for name, (size, *_) in found.items()}
    error = {name: signed for name, (_, signed, _) in found.items()}
    log = "log of the size of logits over the plain net's: {}"
    less = "confidence less accuracy, with {} less without"
    return Finding(
        [
            average(REFUTED, log.format("batch norm"), grown["batch norm"], 0.0, at_least=True),
            average(REFUTED, log.format("decay 0.01"), grown["decay 0.01"], 0.0, at_least=True),
            average(REFUTED, log.format("both"), grown["both"], 0.0, at_least=True),
            average(INSTEAD, log.format("decay 0.01"), grown["decay 0.01"], SHRUNK),
            average(INSTEAD, less.format("decay 0.01"), error["decay 0.01"] - error["plain"], -0.005),
            average(INSTEAD, "confidence less accuracy, with decay 0.01", error["decay 0.01"], -0.005),
            average(INSTEAD, less.format("batch norm"), error["batch norm"] - error["plain"], -0.005),
            average(CONTROL, log.format("no decay, other starts"), grown["other starts"], SHRUNK),
        ],
        lambda ax: _draw_arms(ax, found),
    )


def _digit_nets(rng, splits):
    """For each arm: size of the logits, confidence less accuracy, nats, each [R]."""
    every = splits * len(ARMS)
    decay, norm = np.repeat(list(ARMS.values()), len(splits), axis=0).T
    targets = [nets.one_hot(data.labels) for data in every]
    trained = nets.train(rng, [data.x for data in every], targets, nets.Recipe(decay=decay, batch_norm=norm))
    z = nets.logits(trained, nets.stacked([data.test_x for data in every]))
    rows = np.array([_judged(*each) for each in zip(z, (data.test_labels for data in every))])
    return dict(zip(ARMS, np.moveaxis(rows.reshape(len(ARMS), len(splits), 3), 2, 1)))


def _judged(z, labels):
    centred = z - z.mean(1, keepdims=True)
    nats = -np.mean(log_softmax(z, axis=1)[np.arange(len(z)), labels])
    return np.sqrt(np.mean(centred**2)), signed_error(softmax(z, axis=1), labels), nats


def _draw_arms(ax, found):
    for (name, (size, signed, _)), colour in zip(found.items(), (TRUTH, "0.6", GOOD, BAD, THIRD)):
        ax.plot(size, signed, "o", color=colour, label=name)
    ax.axhline(0, color=TRUTH, lw=1)
    ax.set(xlabel="root mean square of centred logits", ylabel="confidence less accuracy", xscale="log")
    ax.legend(frameon=False)
