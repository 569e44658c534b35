"""How long do ensembles, dropout, NUTS and Laplace take, against what people run today?

    python -m pip install -e '.[peers]' && python -m experiments.against_torch

Each pair runs interleaved in one process on the same data, in float32; a time is the mean over calls in a row that fill
0.2 s ("first": the ratio of our first call after the peer's). Ours is compiled once, apart; the peer's first
call, which loads modules, does not count either. NumPyro's driver compiles anew at every `run`, on the same object too:
that is part of each of its runs, and most of the ratio. Samplers are compared by seconds for one effective draw. Two
devices stand for the two cores.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from experiments import output
from experiments.side_by_side import REPEATS, Case, compare, memory
from probjax import (
    Data,
    Model,
    ensemble,
    laplace_ggn,
    likelihoods,
    linear,
    location_and_scale,
    masked,
    mlp,
    nuts,
    optimize,
    predictive_moments,
    priors,
    trained,
)

NUM_CORES = 2
ENSEMBLE = {"members": 20, "hidden": 64, "rows": 100, "steps": 300, "batch": 1, "rate": 0.01}
DROPOUT = {"draws": 1000, "hidden": 64, "rows": 200, "rate": 0.1, "batch": 5}
SAMPLER = {"chains": 4, "warmup": 1000, "draws": 1000, "rows": 1000, "columns": 20}
LAPLACE = {"inputs": 10, "hidden": 64, "classes": 3, "rows": 1000, "draws": 100}  # 5059 parameters


def ensemble_case() -> Case:
    """A heteroscedastic network trained from M starts, full batches."""
    import torch

    s = ENSEMBLE
    rng = np.random.default_rng(0)
    x = np.linspace(-2, 2, s["rows"], dtype=np.float32)[:, None]
    y = (np.sin(3 * x[:, 0]) + 0.1 * (1 + x[:, 0] ** 2) * rng.standard_normal(len(x))).astype(np.float32)
    network = location_and_scale(mlp([1, s["hidden"], s["hidden"], 2], activation=jax.nn.relu))
    model = Model(*network, prior=priors.normal(), likelihood=likelihoods.normal())
    fit = partial(optimize.adam, num_steps=s["steps"], learning_rate=s["rate"])
    settings = {"num_members": s["members"], "fit": fit, "batch_size": s["batch"]}
    run = jax.jit(lambda key, data: ensemble(key, model, data, **settings))

    def loop(seed):
        torch.manual_seed(seed)
        inputs, targets, members = torch.from_numpy(x), torch.from_numpy(y), []
        for _ in range(s["members"]):
            net = torch_mlp(1, s["hidden"], 2)
            optimiser = torch.optim.Adam(net.parameters(), lr=s["rate"])
            for _ in range(s["steps"]):
                optimiser.zero_grad()
                loc, log_scale = net(inputs).T
                loss = (0.5 * ((targets - loc) / log_scale.exp()) ** 2 + log_scale).mean()
                loss.backward()
                optimiser.step()
            members.append(net)
        return members

    ours = lambda seed: jax.block_until_ready(run(jax.random.key(seed), Data(x, y)))
    return Case(f"ensemble, M = {s['members']}", "torch, a loop", ours, loop, bar=25)


def dropout_case() -> Case:
    """Mean and sd of T stochastic passes of a trained network."""
    import torch

    s = DROPOUT
    x = np.linspace(-2, 2, s["rows"], dtype=np.float32)[:, None]
    net = torch_mlp(1, s["hidden"], 1, rate=s["rate"]).train()

    def loop(seed):
        torch.manual_seed(seed)
        with torch.no_grad():
            f = torch.stack([net(torch.from_numpy(x)) for _ in range(s["draws"])])
            return f.mean(0), f.std(0)

    run = jax.jit(partial(dropout_moments, num_draws=s["draws"]))
    params = dropout_model().init(jax.random.key(0))
    ours = lambda seed: jax.block_until_ready(run(jax.random.key(seed), params, x))
    name = f"MC dropout, T = {s['draws']}, N = {s['rows']}"
    held = memory(run, jax.random.key(0), params, x)
    return Case(name, "torch, a loop", ours, loop, ours_bytes=held, bar=20)


def dropout_moments(key, params, x, *, num_draws):
    """Streamed: one mask serves all inputs of a pass."""
    model = dropout_model()
    return predictive_moments(
        key, model, masked(model, params, rate=DROPOUT["rate"]), x, num_draws=num_draws, batch_size=5
    )


def dropout_model() -> Model:
    """1–64–64–1."""
    network = mlp([1, DROPOUT["hidden"], DROPOUT["hidden"], 1], activation=jax.nn.relu)
    return Model(*network, prior=priors.normal(), likelihood=likelihoods.normal(0.1))


def sampler_case() -> Case:
    """Logistic regression; seconds for one effective draw."""
    import numpyro
    import numpyro.distributions as dist
    from numpyro.infer import MCMC, NUTS

    s = SAMPLER
    rng = np.random.default_rng(0)
    x = rng.standard_normal((s["rows"], s["columns"])).astype(np.float32)
    y = (rng.uniform(size=s["rows"]) < 1 / (1 + np.exp(-x @ rng.standard_normal(s["columns"])))).astype(np.float32)
    model = Model(*linear(s["columns"]), prior=priors.normal(), likelihood=likelihoods.bernoulli())

    def program(x, y):
        weight = numpyro.sample("weight", dist.Normal(0, 1).expand([s["columns"]]).to_event(1))
        bias = numpyro.sample("bias", dist.Normal(0, 1))
        numpyro.sample("y", dist.Bernoulli(logits=x @ weight + bias), obs=y)

    sizes = {"num_chains": s["chains"], "num_warmup": s["warmup"]}
    run = jax.jit(lambda key, data: nuts(key, model, data, num_draws=s["chains"] * s["draws"], **sizes).draws)

    def theirs(seed):  # "vectorized" is the faster of its drivers on a CPU
        driver = MCMC(NUTS(program), num_samples=s["draws"], chain_method="vectorized", progress_bar=False, **sizes)
        driver.run(jax.random.PRNGKey(seed), jnp.asarray(x), jnp.asarray(y))  # it takes keys of the old kind
        return jax.block_until_ready(driver.get_samples())

    ours = lambda seed: jax.block_until_ready(run(jax.random.key(seed), Data(x, y)))
    worth = lambda draws: smallest_bulk_ess(np.column_stack([draws["weight"], draws["bias"]]), s["chains"])
    return Case("NUTS, an effective draw", "NumPyro's driver", ours, theirs, worth, bar=5)


def smallest_bulk_ess(draws: np.ndarray, num_chains: int) -> float:
    """Vehtari et al. 2021: effective sample size of rank-normalised half-chains, the least over columns of [S, P]."""
    from numpyro.diagnostics import effective_sample_size
    from scipy.special import ndtri
    from scipy.stats import rankdata

    ranks = ndtri((rankdata(draws, axis=0) - 0.375) / (len(draws) + 0.25))
    return float(np.min(effective_sample_size(ranks.reshape(2 * num_chains, -1, draws.shape[1]))))


def laplace_case() -> Case:
    """All parameters, the full generalised Gauss–Newton matrix at a given mode: the evidence and draws."""
    import torch
    from laplace import Laplace

    s = LAPLACE
    rng = np.random.default_rng(0)
    x = rng.standard_normal((s["rows"], s["inputs"])).astype(np.float32)
    y = rng.integers(s["classes"], size=s["rows"])
    network = mlp([s["inputs"], s["hidden"], s["hidden"], s["classes"]], activation=jax.nn.relu)
    model = Model(*network, prior=priors.normal(), likelihood=likelihoods.categorical())
    net = torch_mlp(s["inputs"], s["hidden"], s["classes"])
    params = params_of(net)

    def ours_at(key, params, data):
        posterior = laplace_ggn(key, model, data, fit=trained(params), num_draws=s["draws"])
        return posterior.draws, posterior.info["log_evidence"]

    def theirs(seed):
        torch.manual_seed(seed)
        rows = torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
        found = Laplace(net, "classification", subset_of_weights="all", hessian_structure="full")
        found.fit(torch.utils.data.DataLoader(rows, batch_size=s["rows"]))
        return found.sample(s["draws"]), found.log_marginal_likelihood()

    run, data = jax.jit(ours_at), Data(x, y)
    ours = lambda seed: jax.block_until_ready(run(jax.random.key(seed), params, data))
    name = f"full Laplace, P = {sum(leaf.size for leaf in jax.tree.leaves(params))}, n = {s['rows']}"
    held = memory(run, jax.random.key(0), params, data)
    return Case(name, "laplace-torch", ours, theirs, threads=NUM_CORES, ours_bytes=held, bar=12)


def torch_mlp(inputs: int, hidden: int, outputs: int, *, rate: float = 0.0):
    """Two hidden layers, with Dropout after each where the rate is not 0."""
    from torch import nn

    drop = [nn.Dropout(rate)] if rate else []
    first, second = (nn.Linear(inputs, hidden), nn.ReLU(), *drop), (nn.Linear(hidden, hidden), nn.ReLU(), *drop)
    return nn.Sequential(*first, *second, nn.Linear(hidden, outputs))


def params_of(net) -> tuple[dict, ...]:
    """The weights of a torch network as `mlp` has them."""
    layers = [layer for layer in net if hasattr(layer, "weight")]
    as_array = lambda leaf: jnp.asarray(leaf.detach().numpy().T)
    return tuple({"weight": as_array(layer.weight), "bias": as_array(layer.bias)} for layer in layers)


CASES = {"ensemble": ensemble_case, "dropout": dropout_case, "nuts": sampler_case, "laplace": laplace_case}


def main(names: list[str] | None = None) -> None:
    """Print the table of the named cases, all by default."""
    jax.config.update("jax_num_cpu_devices", NUM_CORES)
    rows = []
    for name in names or CASES:
        case = CASES[name]()
        rows.append([case.name, *compare(case)])
    columns = ("work", "peer", "its s", "ours, s", "ratio", "range", "first", "bar", "compile, s", "its MB", "our MB")
    output.table(f"seconds, median of {REPEATS} interleaved runs, {len(jax.devices())} devices", columns, rows)
    if "dropout" in (names or CASES):
        x, params = jnp.zeros((DROPOUT["rows"], 1)), dropout_model().init(jax.random.key(0))
        held = [
            memory(jax.jit(partial(dropout_moments, num_draws=t)), jax.random.key(0), params, x) for t in (10, 10**5)
        ]
        print(f"dropout holds {held[0]:,} bytes for T = 10 and {held[1]:,} for T = 100,000")


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
