"""Normalising flows as variational families: a Gaussian pushed through an invertible network."""

from __future__ import annotations

from itertools import pairwise

from jax import Array
from numpyro.infer.autoguide import AutoBNAFNormal, AutoIAFNormal

from probjax.inference.variational.svi import Family, full_whitening, maximise_elbo, num_params
from probjax.types import Data, Model, NotApplicable, Posterior, Target
from probjax.validation import require_counts

MAX_WEIGHTS = 20_000_000  # of the flow's own networks: 0.8 GB in float64 with Adam's moments, gradient and average


def iaf(
    key: Array,
    model: Model | Target,
    data: Data,
    *,
    num_flows: int = 3,
    num_hidden: int | None = None,
    num_draws: int = 1000,
    num_steps: int = 2000,
    learning_rate: float = 0.02,
    num_particles: int = 8,
) -> Posterior:
    """q: z ~ N(0, 1), z ← σ(z) ∘ z + μ(z) a few times, the order of coordinates reversed between (Kingma et al. 2016).

    μⱼ and σⱼ are outputs of a masked network that sees z₁ … zⱼ₋₁ alone, so log q = log N(z) − Σ log σⱼ costs nothing
    beyond the draw. In coordinates whitened at the mode.

    Args:
        num_flows: how many such maps.
        num_hidden: units in each of a network's two hidden layers, at least P. Default: P, 32 at the least.
        num_draws, num_steps, learning_rate, num_particles: as `mean_field`.

    Returns:
        As `mean_field`.

    Raises:
        NotApplicable: one parameter: nothing comes before it, and the map would be an affine one (use mean_field).
        ValueError: the networks would have more than MAX_WEIGHTS weights (use low_rank).

    >>> from functools import partial
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from probjax import likelihoods, linear, priors
    >>> model = Model(*linear(1), prior=priors.normal(), likelihood=likelihoods.normal(1.0))
    >>> data = Data(jnp.ones((4, 1)), jnp.ones(4))
    >>> run = jax.jit(partial(iaf, num_flows=1, num_steps=16, num_draws=5))
    >>> run(jax.random.key(0), model, data).draws["weight"].shape
    (5, 1)
    """
    require_counts("iaf", num_flows=(num_flows, 1))
    size = _at_least_two("iaf", model)
    hidden = max(32, size) if num_hidden is None else num_hidden
    require_counts("iaf", num_hidden=(hidden, size))
    _require_room("iaf", size, num_flows * hidden * (size + hidden + 2 * size))
    guide = lambda program, start: AutoIAFNormal(program, num_flows=num_flows, hidden_dims=[hidden, hidden])
    settings = (num_draws, num_steps, learning_rate, num_particles)
    return maximise_elbo(key, model, data, Family("iaf", guide, _draw), full_whitening, *settings)


def bnaf(
    key: Array,
    model: Model | Target,
    data: Data,
    *,
    num_flows: int = 1,
    hidden_factors: tuple[int, ...] = (8, 8),
    num_draws: int = 1000,
    num_steps: int = 2000,
    learning_rate: float = 0.02,
    num_particles: int = 8,
) -> Posterior:
    """q: z ~ N(0, 1) through a network of block-triangular weights, positive on the diagonal, so that each output grows
    with its own input (De Cao, Titov & Aziz 2019). In coordinates whitened at the mode.

    The map has no closed inverse: log q is known at q's own draws, and nowhere else.

    Args:
        num_flows: how many such networks, the order of coordinates reversed between.
        hidden_factors: units a parameter in each hidden layer.
        num_draws, num_steps, learning_rate, num_particles: as `mean_field`.

    Returns:
        As `mean_field`.

    Raises:
        NotApplicable: one parameter (NumPyro's guide wants two).
        ValueError: the networks would have more than MAX_WEIGHTS weights (use low_rank).

    >>> from functools import partial
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from probjax import likelihoods, linear, priors
    >>> model = Model(*linear(1), prior=priors.normal(), likelihood=likelihoods.normal(1.0))
    >>> data = Data(jnp.ones((4, 1)), jnp.ones(4))
    >>> run = jax.jit(partial(bnaf, num_steps=16, num_draws=5))
    >>> run(jax.random.key(0), model, data).draws["weight"].shape
    (5, 1)
    """
    require_counts("bnaf", num_flows=(num_flows, 1))
    for factor in hidden_factors:
        require_counts("bnaf", hidden_factors=(factor, 1))
    size = _at_least_two("bnaf", model)
    widths = (1, *hidden_factors, 1)
    _require_room("bnaf", size, num_flows * size**2 * sum(a * b for a, b in pairwise(widths)))
    guide = lambda program, start: AutoBNAFNormal(program, num_flows=num_flows, hidden_factors=list(hidden_factors))
    settings = (num_draws, num_steps, learning_rate, num_particles)
    return maximise_elbo(key, model, data, Family("bnaf", guide, _draw), full_whitening, *settings)


def _at_least_two(name, model):
    size = num_params(model)
    if size < 2:
        raise NotApplicable(f"{name} needs two parameters or more, this model has {size}; use mean_field")
    return size


def _require_room(name, size, num_weights):
    if num_weights > MAX_WEIGHTS:
        raise ValueError(
            f"{name}: {size} parameters take a flow of {num_weights:,} weights; at most {MAX_WEIGHTS:,} are supported; "
            "use low_rank, or a smaller flow"
        )


def _draw(key, guide, params, num_draws):
    """log q by the change of variables along the draw itself: an inverse is dear (IAF) or not known (BNAF)."""
    base, transform = guide.get_base_dist(), guide.get_transform(params)
    z = base.sample(key, (num_draws,))
    u, intermediates = transform.call_with_intermediates(z)
    return u, base.log_prob(z) - transform.log_abs_det_jacobian(z, u, intermediates)
