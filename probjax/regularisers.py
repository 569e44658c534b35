"""Penalties as priors and back, exactly. λ is always that of the objective written in the docstring.

The noise scale σ is part of every conversion for squared error: a penalty is a prior only relative to a likelihood.
"""

from __future__ import annotations

from typing import Any

from probjax.validation import require_positive


def _checked(name: str, **values: Any) -> None:
    for argument, value in values.items():
        cure = "no penalty at all is priors.flat()" if argument in ("penalty", "alpha", "weight_decay") else "check it"
        require_positive(f"regularisers.{name}", argument, value, cure)


def ridge_to_normal(penalty: float, noise_scale: float) -> float:
    """τ of N(0, τ²) for SSE + λ‖w‖² under noise σ: τ = σ/√λ. `sklearn.linear_model.Ridge(alpha=λ)` is this objective.

    >>> ridge_to_normal(4.0, 1.0)
    0.5
    """
    _checked("ridge_to_normal", penalty=penalty, noise_scale=noise_scale)
    return noise_scale / penalty**0.5


def normal_to_ridge(scale: float, noise_scale: float) -> float:
    """λ of SSE + λ‖w‖² for N(0, τ²) under noise σ: λ = σ²/τ²."""
    _checked("normal_to_ridge", scale=scale, noise_scale=noise_scale)
    return (noise_scale / scale) ** 2


def lasso_to_laplace(penalty: float, noise_scale: float) -> float:
    """b of Laplace(0, b) for ½ SSE + λ‖w‖₁ under noise σ: b = σ²/λ.

    >>> lasso_to_laplace(2.0, 1.0)
    0.5
    """
    _checked("lasso_to_laplace", penalty=penalty, noise_scale=noise_scale)
    return noise_scale**2 / penalty


def laplace_to_lasso(scale: float, noise_scale: float) -> float:
    """λ of ½ SSE + λ‖w‖₁ for Laplace(0, b) under noise σ: λ = σ²/b."""
    _checked("laplace_to_lasso", scale=scale, noise_scale=noise_scale)
    return noise_scale**2 / scale


def sklearn_lasso_to_laplace(alpha: float, noise_scale: float, num_data: int) -> float:
    """b for `sklearn.linear_model.Lasso(alpha)`, whose objective is SSE/2n + α‖w‖₁: b = σ²/(n α)."""
    _checked("sklearn_lasso_to_laplace", alpha=alpha, noise_scale=noise_scale, num_data=num_data)
    return lasso_to_laplace(num_data * alpha, noise_scale)


def laplace_to_sklearn_lasso(scale: float, noise_scale: float, num_data: int) -> float:
    """α of `sklearn.linear_model.Lasso` for Laplace(0, b): α = σ²/(n b)."""
    _checked("laplace_to_sklearn_lasso", scale=scale, noise_scale=noise_scale, num_data=num_data)
    return laplace_to_lasso(scale, noise_scale) / num_data


def sklearn_c_to_normal(c: float) -> float:
    """τ for `sklearn.linear_model.LogisticRegression(C)`, whose objective is ½‖w‖² + C Σ NLL: τ = √C."""
    _checked("sklearn_c_to_normal", c=c)
    return c**0.5


def normal_to_sklearn_c(scale: float) -> float:
    """C of `sklearn.linear_model.LogisticRegression` for N(0, τ²): C = τ²."""
    _checked("normal_to_sklearn_c", scale=scale)
    return scale**2


def sklearn_c_to_laplace(c: float) -> float:
    """b for `sklearn.linear_model.LogisticRegression(C, l1_ratio=1)`, whose objective is ‖w‖₁ + C Σ NLL: b = C."""
    _checked("sklearn_c_to_laplace", c=c)
    return c


def laplace_to_sklearn_c(scale: float) -> float:
    """C of `sklearn.linear_model.LogisticRegression(l1_ratio=1)` for Laplace(0, b): C = b."""
    _checked("laplace_to_sklearn_c", scale=scale)
    return scale


def weight_decay_to_normal(weight_decay: float, num_data: int) -> float:
    """τ for mean NLL + ½ wd ‖w‖², the penalty being in the gradient (coupled L2): τ = 1/√(n wd).

    So is the α of scikit-learn's generalised linear models (`PoissonRegressor(alpha=wd)`). It is *not* what AdamW does:
    decoupled decay has another fixed point.
    """
    _checked("weight_decay_to_normal", weight_decay=weight_decay, num_data=num_data)
    return (num_data * weight_decay) ** -0.5


def normal_to_weight_decay(scale: float, num_data: int) -> float:
    """wd of mean NLL + ½ wd ‖w‖² for N(0, τ²): wd = 1/(n τ²)."""
    _checked("normal_to_weight_decay", scale=scale, num_data=num_data)
    return 1 / (num_data * scale**2)
