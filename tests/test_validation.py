"""Bad input: the error names the argument, both numbers and the cure."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

from probjax import (
    Data,
    Model,
    Posterior,
    check_inputs,
    dropout,
    full_rank,
    joint_log_predictive,
    laplace,
    likelihoods,
    linear,
    log_joint,
    log_predictive,
    map_estimate,
    mean_field,
    mlp,
    nuts,
    priors,
    target_from_numpyro,
    with_learnt_scale,
)  # fmt: skip
from probjax.validation import check_draws

X, Y = np.ones((4, 2)), np.array([0.0, 1.0, 2.0, 1.0])


def model(likelihood=None, network=None):
    return Model(*(network or linear(2)), prior=priors.normal(), likelihood=likelihood or likelihoods.normal(1.0))


def nan_at(row):
    x = X.copy()
    x[row, 1] = np.nan
    return x


@pytest.mark.parametrize(
    "data, kind, message",
    [
        (Data(X, Y[:3]), likelihoods.normal(1.0), "x has 4 rows but y has 3; each row of x needs its own y"),
        (
            Data(nan_at(2), Y),
            likelihoods.normal(1.0),
            r"x has 1 rows of 4 with NaN or infinite values \(first: row 2\); remove or impute",
        ),
        (Data(X, np.array([0, np.inf, 0, 0])), likelihoods.normal(1.0), "y has 1 rows of 4 with NaN or infinite"),
        (Data(X[:0], Y[:0]), likelihoods.normal(1.0), r"data is empty \(0 rows\)"),
        (
            Data(X, Y),
            likelihoods.bernoulli(),
            r"y has 1 rows of 4 outside the support \(0 or 1\); first: row 2, y = 2.0",
        ),
        (Data(X, -Y), likelihoods.poisson(), r"outside the support \(a count"),
        (Data(X, np.array(["a"] * 4)), likelihoods.normal(1.0), "y has dtype <U1; expected numbers"),
        (Data(X, Y[:, None]), likelihoods.normal(1.0), r"y has shape \(4, 1\).*one value of y a row"),
        (Data(np.float64(3), Y), likelihoods.normal(1.0), "needs arrays with a leading axis N"),
    ],
)
def test_bad_data_is_named_before_anything_runs(data, kind, message):
    with pytest.raises(ValueError, match=message):
        map_estimate(jax.random.key(0), model(kind), data)


@pytest.mark.parametrize("labels", [[0, 1, 3, 1], [0, -1, 2, 1], [0, 0.5, 1, 1]])
def test_labels_outside_the_classes_or_not_integers_are_refused(labels):
    three = model(likelihoods.categorical(), linear(2, 3))
    with pytest.raises(
        ValueError, match=r"y has 1 rows of 4 outside the support \(an integer label 0..K−1.*f has shapes \[\(4, 3\)\]"
    ):
        check_inputs(three, Data(X, np.array(labels)))
    check_inputs(three, Data(X, np.array([0, 1, 2, 1])))


def test_one_output_for_several_classes_says_what_is_needed():
    with pytest.raises(ValueError, match=r"categorical needs logits \[N, K\]"):
        log_joint(model(likelihoods.categorical()), linear(2).init(jax.random.key(0)), Data(X, Y))


def test_bad_data_is_found_inside_the_callers_jit_too():
    bad = Data(nan_at(0), Y)
    with pytest.raises(ValueError, match="x has 1 rows of 4 with NaN"):
        jax.jit(lambda key: map_estimate(key, model(), bad).draws)(jax.random.key(0))


def test_params_of_another_tree_or_shape_are_named():
    with pytest.raises(ValueError, match=r"params has tree .* but model.init makes"):
        log_joint(model(), {"weight": jnp.ones(2)}, Data(X, Y))
    with pytest.raises(ValueError, match=r"params\['weight'\] has shape \(3,\) but model.init makes \(2,\)"):
        log_joint(model(), {"weight": jnp.ones(3), "bias": jnp.zeros(())}, Data(X, Y))


def test_a_network_whose_outputs_would_broadcast_against_y_is_refused():
    wide = model(network=mlp([2, 3, 1], squeeze=False))
    with pytest.raises(ValueError, match=r"log_prob\(y, f\) has shape \(4, 4\) but should be \(4,\)"):
        log_joint(wide, wide.init(jax.random.key(0)), Data(X, Y))


def test_models_and_data_of_the_wrong_type_are_named():
    with pytest.raises(TypeError, match=r"model is a int; expected a probjax\.Model or probjax.Target"):
        check_inputs(3, Data(X, Y))
    with pytest.raises(TypeError, match=r"data is a tuple; expected probjax.Data\(x, y\)"):
        check_inputs(model(), (X, Y))


def test_draws_must_be_the_models_tree_with_one_leading_axis():
    draws = {"weight": jnp.ones((5, 2)), "bias": jnp.ones(5)}
    assert check_draws(model(), Posterior(draws, {})) == 5
    with pytest.raises(TypeError, match=r"is a dict; expected probjax\.Posterior"):
        check_draws(model(), draws)
    with pytest.raises(ValueError, match=r"posterior.draws\['weight'\] has shape \(5, 3\).*\(5, 2\) was expected"):
        check_draws(model(), Posterior(draws | {"weight": jnp.ones((5, 3))}, {}))
    with pytest.raises(ValueError, match="needs a leading axis S"):
        check_draws(model(), Posterior({"weight": jnp.ones((5, 2)), "bias": jnp.ones(())}, {}))
    with pytest.raises(ValueError, match="0 draws"):
        check_draws(model(), Posterior({"weight": jnp.ones((0, 2)), "bias": jnp.ones(0)}, {}))


def test_a_numpyro_program_is_the_density_it_writes_down():
    """log Gamma(σ; 2, 1) + log σ (the Jacobian of σ = eᵘ) + Σ log N(y; 0, σ)."""
    from scipy import stats

    def program(data):
        sigma = numpyro.sample("sigma", dist.Gamma(2.0, 1.0))
        numpyro.deterministic("variance", sigma**2)
        numpyro.sample("y", dist.Normal(0.0, sigma), obs=data)

    y, u = np.array([0.3, -1.0, 0.7]), 0.4
    made = target_from_numpyro(program, y)
    expected = stats.gamma.logpdf(np.exp(u), 2) + u + stats.norm.logpdf(y, 0, np.exp(u)).sum()
    params = jax.eval_shape(made.init, jax.random.key(0))
    assert set(params) == {"sigma"}
    assert float(made.log_joint({"sigma": jnp.array(u)}, y)) == pytest.approx(expected, rel=1e-12)
    assert float(made.constrain({"sigma": jnp.array(u)})["variance"]) == pytest.approx(np.exp(2 * u), rel=1e-12)


def test_a_numpyro_program_without_latents_is_refused():
    with pytest.raises(ValueError, match="no latent sites"):
        target_from_numpyro(lambda data: numpyro.sample("y", dist.Normal(0.0, 1.0), obs=data), np.zeros(3))


def test_a_likelihood_of_ones_own_may_leave_its_support_open():
    from probjax import Likelihood

    mine = Likelihood(lambda y, f: -((y - f) ** 4), None, None, None, None)
    check_inputs(model(mine), Data(X, Y))
    assert log_joint(model(mine), linear(2).init(jax.random.key(0)), Data(X, Y)).shape == ()


def test_a_joint_prior_needs_a_dict_of_parameters():
    with pytest.raises(ValueError, match="params is a tuple; joint needs a dict"):
        priors.joint(network=priors.flat()).log_prob(mlp([1, 2, 1]).init(jax.random.key(0)))


@pytest.mark.parametrize("x", [np.ones((4, 3)), np.ones(4)])
def test_x_with_the_wrong_columns_is_named(x):
    with pytest.raises(ValueError, match=r"apply\(params, x\) failed for x of shape .* x is \[N, D\], check D"):
        map_estimate(jax.random.key(0), model(), Data(x, Y))


def test_common_slips_are_named():
    with pytest.raises(ValueError, match=r"y is a list of numbers; pass numpy.asarray\(y\)"):
        check_inputs(model(), Data(X, [0.0, 1.0, 2.0, 1.0]))
    with pytest.raises(ValueError, match=r"takes f = \(loc, scale\) but the network gives one output; pass the others"):
        log_joint(model(likelihoods.normal()), linear(2).init(jax.random.key(0)), Data(X, Y))
    scaled = with_learnt_scale(linear(2))
    with pytest.raises(ValueError, match=r"f = loc but the network gives 2 outputs; .* likelihoods.normal\(\)"):
        log_joint(model(network=scaled), scaled.init(jax.random.key(0)), Data(X, Y))
    with pytest.raises(TypeError, match=r"prior is the function normal; call it"):
        Model(*linear(2), prior=priors.normal, likelihood=likelihoods.normal(1.0))
    for bad in (np.nan, np.inf, "1"):
        with pytest.raises(ValueError, match="must be positive and finite"):
            likelihoods.normal(bad)
    with pytest.raises(ValueError, match="loc is nan but must be a finite number"):
        priors.normal(np.nan, 1.0)


def test_labels_that_cannot_occur_are_refused_by_the_densities_too():
    posterior = Posterior({"weight": jnp.zeros((1, 2)), "bias": jnp.zeros(1)}, {})
    for density in (log_predictive, joint_log_predictive):
        with pytest.raises(ValueError, match="outside the support"):
            density(model(likelihoods.bernoulli()), posterior, Data(X, np.full(4, 7.0)))


@pytest.mark.parametrize(
    "method, settings, message",
    [
        (mean_field, {"num_particles": 0}, "mean_field: num_particles is 0 but must be an integer, at least 1"),
        (full_rank, {"learning_rate": -1.0}, "full_rank: learning_rate is -1.0 but must be positive"),
        (dropout, {"num_masks": 0}, "dropout: num_masks is 0"),
        (nuts, {"num_warmup": -5}, "nuts: num_warmup is -5 but must be an integer, at least 0"),
        (nuts, {"target_accept": 2.0}, r"target_accept is 2.0 but must lie in \(0, 1\)"),
        (laplace, {"num_draws": 10.0}, "laplace: num_draws is 10.0 but must be an integer"),
    ],
)
def test_settings_out_of_range_are_named(method, settings, message):
    with pytest.raises(ValueError, match=message):
        method(jax.random.key(0), model(), Data(X, Y), **settings)


def test_sizes_of_networks_are_positive_integers():
    with pytest.raises(ValueError, match=r"sizes is \[1, 0, 1\]"):
        mlp([1, 0, 1])
    with pytest.raises(ValueError, match="num_inputs is -1"):
        linear(-1)


@pytest.mark.filterwarnings("ignore:overflow")
def test_an_objective_that_is_infinite_is_no_convergence():
    big = Data(X, Y * 1e200)
    assert not bool(map_estimate(jax.random.key(0), model(), big).info["converged"])


def test_a_network_that_is_not_unpacked_is_named():
    with pytest.raises(TypeError, match=r"unpack a Network into it: Model\(\*linear\(3\)"):
        Model(linear(3), prior=priors.flat(), likelihood=likelihoods.poisson())


def test_ordinal_without_cutpoints_says_where_they_come_from():
    this = Model(*linear(2), prior=priors.normal(), likelihood=likelihoods.ordinal())
    with pytest.raises(ValueError, match="wrap the network in with_cutpoints"):
        map_estimate(jax.random.key(0), this, Data(np.ones((4, 2)), np.array([0, 1, 2, 1])))
