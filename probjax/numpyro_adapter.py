"""NumPyro and back: any NumPyro model as a Target, any log-density as a NumPyro model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpyro
from jax.tree_util import Partial
from numpyro.distributions import ImproperUniform, constraints
from numpyro.handlers import block
from numpyro.infer.util import constrain_fn, initialize_model, potential_energy

from probjax.types import Static, Target


def target_from_numpyro(program: Callable, data: Any) -> Target:
    """log_joint(params, data) = log p(y, constrained(params)) + log |∂constrained/∂params|, as NumPyro computes it.

    Args:
        program: a NumPyro model `data -> None`; every latent site continuous.
        data: the data set, needed to trace the sites; `log_joint` takes it again as an argument, so that new values
            of the same shapes do not recompile.

    Returns:
        A Target; params is a dict of unconstrained sites, `constrain` returns sites and deterministics by name.

    Raises:
        ValueError: the program has no latent sites.

    >>> import jax.numpy as jnp, numpyro, numpyro.distributions as dist
    >>> def coin(data):
    ...     p = numpyro.sample("p", dist.Beta(2.0, 2.0))
    ...     numpyro.sample("y", dist.Bernoulli(p), obs=data)
    >>> target = target_from_numpyro(coin, jnp.array([1, 1, 0]))
    >>> round(float(target.log_joint({"p": jnp.array(0.0)}, jnp.array([1, 1, 0]))), 4)  # log(1.5 · ½³ · ¼)
    -3.0603
    """
    static = Static(program)
    if not jax.eval_shape(lambda key: _init(static, data, key), jax.random.key(0)):
        raise ValueError("the NumPyro program has no latent sites; there is nothing to infer")
    return Target(Partial(_init, static, data), Partial(_log_joint, static), Partial(_constrain, static, data))


def program_from_density(log_density: Callable, size: int) -> Callable:
    """A NumPyro program whose one latent site "u" [size] has the given unnormalised log-density: the way back, for
    NumPyro's guides.

    Args:
        log_density: [size] -> scalar, nats.

    Returns:
        A program without arguments.

    >>> import jax.numpy as jnp
    >>> from numpyro.infer.util import log_density
    >>> program = program_from_density(lambda u: -jnp.sum(u**2), 3)
    >>> float(log_density(program, (), {}, {"u": jnp.ones(3)})[0])
    -3.0
    """

    def program():
        u = numpyro.sample("u", ImproperUniform(constraints.real_vector, (), (size,)))
        numpyro.factor("log_density", log_density(u))

    return program


def _init(static, data, key):
    return initialize_model(key, static.value, model_args=(data,), validate_grad=False).param_info.z


def _log_joint(static, params, data):
    with block():  # the program's sites are its own affair: an inference program around this one must not see them
        return -potential_energy(static.value, (data,), {}, params)


def _constrain(static, data, params):
    return constrain_fn(static.value, (data,), {}, params, return_deterministic=True)
