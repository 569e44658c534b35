"""Small data sets that introductions to the subject are told with, each with the figures that its usual fit prints."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Regression(NamedTuple):
    """Rows and targets; `truth` the weights they were drawn with."""

    x: np.ndarray
    y: np.ndarray
    truth: np.ndarray


def line() -> Regression:
    """50 points of y = 2x + 1 + N(0, 2²) on [0, 10]. Least squares: slope 1.88403, intercept 1.12889."""
    rng = np.random.RandomState(42)
    x = np.linspace(0, 10, 50)
    return Regression(x, 2 * x + 1 + rng.normal(0, 2, 50), np.array([2.0, 1.0]))


LINE = {
    "slope": 1.884033201016355,
    "intercept": 1.1288861844059443,
    "sigma": 1.816746317030705,
    "loglik": -100.79928482438352,
}


def two_classes() -> Regression:
    """1000 labels of a logistic regression on two Gaussian columns. Log loss of its fit: 0.436077."""
    rng = np.random.RandomState(42)
    x = rng.randn(1000, 2)
    truth = np.array([2.0, -1.5])
    return Regression(x, rng.binomial(1, 1 / (1 + np.exp(-(x @ truth)))).astype(float), truth)


# printed after scikit-learn's default fit with C = 1e6, which stops 8e-4 from the mode in the coefficients
TWO_CLASSES = {
    "coef": (1.7610003640262037, -1.4326246890255219),
    "intercept": 0.13093490611911127,
    "log_loss": 0.43607719987186044,
}


def three_rows() -> tuple[np.ndarray, np.ndarray]:
    """Logits of three rows and three classes, and their labels. Mean cross-entropy: 0.21773521."""
    return np.array([[2.0, 1.0, -0.5], [0.5, 3.0, 0.1], [-1.0, 0.5, 2.5]]), np.array([0, 1, 2])


THREE_ROWS = {"ce": 0.21773520945082506, "first": (0.6896720861245035, 0.2537161816350252, 0.05661173224047128)}


def sparse() -> tuple[Regression, Regression]:
    """80 rows to learn from and 20 to test on, 50 columns of which 10 matter (weights up to 82), noise 15.

    Test RMSE: least squares 24.295, ridge 1 27.250, ridge 10 51.413, lasso 0.1 22.956, lasso 1 18.272.
    """
    from sklearn.datasets import make_regression

    x, y, truth = make_regression(n_samples=100, n_features=50, n_informative=10, noise=15, random_state=42, coef=True)
    return Regression(x[:80], y[:80], truth), Regression(x[80:], y[80:], truth)


SPARSE = {  # (train RMSE, test RMSE, coefficients that are not 0)
    "MLE": (9.598830909446576, 24.295390490804373, 50),
    "Ridge 1": (10.203590851173118, 27.25044963964258, 50),
    "Ridge 10": (22.711327704537048, 51.4126576261184, 50),
    "Lasso 0.1": (9.679359905385665, 22.956116628804313, 48),
    "Lasso 1": (12.490414797739646, 18.271972899688958, 27),
}
LISTED_COUNTS = {"mae_gaussian": 6.491963412659413, "mae_poisson": 6.497908134682502}  # its data are not known

ONE_HOT = (np.array([1.0, 0.0, 0.0]), np.array([0.7, 0.2, 0.1]))  # P, Q: cross-entropy and KL 0.3566749, H(P) = 0
