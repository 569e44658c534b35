"""tests → {experiments, verification} → probjax → {jax, optax, flax, numpyro}; the oracle shares no code with the
accused."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module)
    return found


def roots(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)}


@pytest.mark.parametrize(
    "room, forbidden",
    [("probjax", {"verification", "experiments", "tests"}), ("verification", {"experiments", "tests"})],
)
def test_nothing_looks_back(room, forbidden):
    offenders = [str(p) for p in (ROOT / room).rglob("*.py") if roots(p) & forbidden]
    assert not offenders


def test_exact_answers_import_neither_the_library_nor_jax():
    for path in (ROOT / "verification" / "exact").glob("*.py"):
        assert not roots(path) & {"probjax", "jax", "numpyro", "flax", "optax"}, path
        inside = {name for name in imports(path) if name.startswith("verification")}
        assert all(name.startswith("verification.exact") for name in inside), path


def test_there_is_no_pickle():
    for path in (p for room in ("probjax", "verification", "experiments") for p in (ROOT / room).rglob("*.py")):
        assert not roots(path) & {"pickle", "dill", "cloudpickle"}, path
