"""Problems whose exact answer knows the parameters as one vector θ: the leaves of the tree, in its order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.scipy.special import ndtr as jax_ndtr
from jax.tree_util import Partial
from scipy.special import expit, ndtr

from probjax import Data, Model
from probjax.types import Static
from verification.exact import glm_grid
from verification.exact.cache import solved
from verification.exact.glm_grid import Query
from verification.exact.reference import Reference
from verification.exact.sampling import rejection_sampler
from verification.problems._parts import new_rows
from verification.types import Bug, Problem


class Transform(NamedTuple):
    """One increasing function, for the exact answer and for the model."""

    exact: Callable
    model: Callable


LINEAR = Transform(np.asarray, jnp.asarray)
EXP = Transform(np.exp, jnp.exp)
SIGMOID = Transform(expit, jax.nn.sigmoid)
NDTR = Transform(ndtr, jax_ndtr)


class Quantity(NamedTuple):
    """transform(directionᵀφ), φ the coordinates numbered `view`; view 0 is θ itself."""

    name: str
    direction: tuple[float, ...]
    transform: Transform = LINEAR
    view: int = 0


def exact_queries(quantities: list[Quantity]) -> list[Query]:
    """The quantities as the exact answer takes them."""
    return [Query(q.name, q.direction, q.transform.exact, q.view) for q in quantities]


def model_query(quantities: list[Quantity], views: tuple[Callable, ...] = ()) -> Partial:
    """params -> [Q]. views: jnp functions θ -> φ, for the views numbered from 1."""
    transforms = tuple(q.transform.model for q in quantities)
    numbers = tuple(q.view for q in quantities)
    directions = jnp.asarray([q.direction for q in quantities], float)
    return Partial(_evaluate, Static((transforms, numbers, views)), directions)


def _evaluate(static, directions, params):
    transforms, numbers, views = static.value
    theta = ravel_pytree(params)[0]
    coordinates = [theta, *(view(theta) for view in views)]
    along = [direction @ coordinates[number] for direction, number in zip(directions, numbers)]
    return jnp.stack([transform(value) for transform, value in zip(transforms, along)])


def params_of(model: Any) -> Callable:
    """θ [S, D] -> params with leading S, numpy leaves."""
    leaves, treedef = jax.tree.flatten(jax.eval_shape(model.init, jax.random.key(0)))
    ends = np.cumsum([leaf.size for leaf in leaves])

    def unpack(theta):
        parts = np.split(theta, ends[:-1], axis=1)
        return treedef.unflatten([p.reshape(len(theta), *leaf.shape) for p, leaf in zip(parts, leaves)])

    return unpack


def rejected(
    model: Any, log_density: Callable, reference: Reference, num: int, *, dof: float = 10.0, slack: float = 0.5
) -> Callable:
    """Exact draws by rejection; the first `num` quantities must be θ itself, in order.

    Args:
        log_density: [M, D] -> [M].
        dof, slack: of `rejection_sampler`.
    """
    covariance = (reference.corr * np.outer(reference.sd, reference.sd))[:num, :num]
    samplers, unpack = [], params_of(model)

    def draw(rng, num_draws):
        if not samplers:  # its bound is searched for at the first call
            samplers.append(rejection_sampler(log_density, reference.mean[:num], covariance, dof=dof, slack=slack))
        return unpack(samplers[0](rng, num_draws))

    return draw


class Rows(NamedTuple):
    """Fitted and held-out rows."""

    x: np.ndarray
    y: np.ndarray
    new_x: np.ndarray
    new_y: np.ndarray

    @classmethod
    def split(cls, x, y, num_fit: int) -> Rows:
        return cls(x[:num_fit], y[:num_fit], x[num_fit:], y[num_fit:])

    @property
    def data(self) -> Data:
        return Data(jnp.asarray(self.x), jnp.asarray(self.y))

    @property
    def new_data(self) -> Data:
        return Data(jnp.asarray(self.new_x), jnp.asarray(self.new_y))


def problem(
    name: str, about: str, model: Model, rows: Rows, query, reference, exact_draws, bug: Bug, log_concave=False
) -> Problem:
    """A Problem of fitted and held-out rows."""
    return Problem(
        name=name,
        about=about,
        model=model,
        data=rows.data,
        query=query,
        log_new=new_rows(model, rows.new_data),
        reference=reference,
        exact_draws=exact_draws,
        log_concave=log_concave,
        bug=bug,
    )


def design(x) -> np.ndarray:
    """[1, x]: the bias comes first in the order of the tree."""
    return np.column_stack([np.ones(len(x)), x])


def solved_on_grid(name: str, quantities: list[Quantity], log_density: Callable, dim: int, **settings) -> Reference:
    """`glm_grid.solve` from the origin, its answer kept."""
    return solved(name, lambda: glm_grid.solve(exact_queries(quantities), log_density, np.zeros(dim), **settings))
