"""A leading axis spread over two devices: the numbers of the plain path, under every transformation, in bounded memory.

The devices must be there before JAX starts, so that all of it runs in one process of its own.
"""

import json
import os
import subprocess
import sys

import pytest

SCRIPT = """
import json
import jax, jax.numpy as jnp, numpy as np
from probjax import over_leading_axis

jax.config.update("jax_enable_x64", True)
keys = jax.random.split(jax.random.key(0), 5)
scales = np.arange(5.0)
assert len(jax.devices()) == 2

def walk(c, key, scale):  # a scan that starts from a constant, a loop of unlike lengths, a dict
    step = lambda s, _: (jnp.tanh(c * s) + scale * jax.random.normal(key),) * 2
    end, path = jax.lax.scan(step, 0.0, None, length=3)
    steps = jax.lax.while_loop(lambda n: n < 2 * scale, lambda n: n + 1, 0)
    return {"path": path, "steps": steps}

spread = lambda c, **how: over_leading_axis(lambda k, s: walk(c, k, s), keys, scales, **how)
plain = lambda c: jax.vmap(lambda k, s: walk(c, k, s))(keys, scales)
total = lambda run: lambda c: jnp.sum(jnp.sin(run(c)["path"]))
cs = jnp.arange(1.0, 4.0)

def gap(one, other):
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return max(float(np.max(np.abs(np.subtract(a, b)))) for a, b in pairs)

found = {}
for size in (None, 2, 9):
    found[f"batch_size={size}"] = gap(spread(1.2, batch_size=size), plain(1.2))
found["one row"] = gap(over_leading_axis(jnp.sin, scales[:1]), jnp.sin(scales[:1]))
found["two rows"] = gap(over_leading_axis(jnp.sin, scales[1:3]), jnp.sin(scales[1:3]))
found["jit"] = gap(jax.jit(spread)(1.2), plain(1.2))
found["vmap"] = gap(jax.vmap(spread)(cs), jax.vmap(plain)(cs))
found["vmap of jit"] = gap(jax.vmap(jax.jit(spread))(cs), jax.vmap(plain)(cs))
smooth = lambda c: over_leading_axis(lambda k, s: jnp.tanh(c * s) * jax.random.normal(k), keys, scales)
smooth_plain = lambda c: jax.vmap(lambda k, s: jnp.tanh(c * s) * jax.random.normal(k))(keys, scales)
summed, summed_plain = (lambda c, f=f: jnp.sum(f(c) ** 2) for f in (smooth, smooth_plain))
found["grad"] = gap(jax.jit(jax.grad(summed))(1.2), jax.grad(summed_plain)(1.2))
found["hessian"] = gap(jax.jit(jax.hessian(summed))(1.2), jax.jit(jax.hessian(summed_plain))(1.2))
by_row = lambda f: jax.grad(lambda s: jnp.sum(f(lambda s: jnp.sin(s) * s, s) ** 2))(jnp.asarray(scales))
found["grad by rows"] = gap(by_row(over_leading_axis), by_row(lambda f, s: jax.vmap(f)(s)))
inner = lambda run: lambda k: jnp.sum(run(lambda k: jax.random.normal(k), jax.random.split(k, 4)))
nested = over_leading_axis(inner(over_leading_axis), keys)
found["nested"] = gap(nested, jax.vmap(inner(lambda f, k: jax.vmap(f)(k)))(keys))

def maps(run, *args):
    return str(jax.make_jaxpr(run)(*args)).count("shard_map[")

put = jax.device_put(scales, jax.devices()[1])
counts = {
    "alone": maps(spread, 1.2),
    "nested": maps(lambda k: over_leading_axis(inner(over_leading_axis), k), keys),
    "in a vmap": maps(jax.vmap(spread), cs),
    "one row": maps(lambda s: over_leading_axis(jnp.sin, s), scales[:1]),
}
with jax.default_device(jax.devices()[1]):
    counts["default device"] = maps(spread, 1.2)
devices = {
    "spread": len(over_leading_axis(jnp.sin, scales[:4]).sharding.device_set),
    "committed": len(over_leading_axis(jnp.sin, put).sharding.device_set),
}

def memory(run):  # a row needs 80 kB meanwhile
    wide = lambda s: jnp.sum(jnp.sort(jnp.sin(s * jnp.arange(10_000.0))) ** 2)
    return jax.jit(lambda s: run(wide, s)).lower(jnp.arange(200.0)).compile().memory_analysis().temp_size_in_bytes

memories = {
    "spread": memory(over_leading_axis),
    "blocks": memory(lambda f, s: over_leading_axis(f, s, batch_size=4)),
    "vmap": memory(lambda f, s: jax.vmap(f)(s)),
}
print(json.dumps([found, counts, devices, memories]))
"""


@pytest.fixture(scope="module")
def results():
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    env = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-W", "error", "-c", SCRIPT], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_two_devices_give_what_vmap_gives_under_every_transformation(results):
    found = results[0]
    assert len(found) == 12
    assert {name: gap for name, gap in found.items() if not gap <= 1e-13} == {}


def test_an_axis_is_spread_once_and_only_where_the_devices_are_free(results):
    assert results[1] == {"alone": 1, "nested": 1, "in a vmap": 0, "one row": 0, "default device": 0}
    assert results[2] == {"spread": 2, "committed": 1}


def test_memory_is_that_of_the_rows_that_run_together(results):
    memories = results[3]
    row = 80_000
    assert memories["vmap"] >= 200 * row
    assert memories["spread"] < 3 * row and memories["blocks"] < 4 * 3 * row  # on each device
