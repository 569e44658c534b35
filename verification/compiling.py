"""How worker processes compile: in about half of XLA's usual time, and once for all runs."""

from __future__ import annotations

import os
from importlib import metadata

from verification.exact.cache import folder

# The older emitters give the same numbers to rounding in half the time; one thread a process, as there is a process a
# core. An XLA that does not know a flag ends the process, so only versions that were seen to know them get them.
FLAGS = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
FLAGS_KNOWN_TO = "0.10."
# Not so for these: with the newer ones they run 12 to 25% faster, which pays for a fifth more of compilation.
LONG_RUNS = ("iaf", "bnaf", "stein")
MAX_BYTES = 1 << 30  # of compiled programs; the longest unused are dropped


def compiler_flags() -> str:
    """For $XLA_FLAGS; none where XLA is another one than the one they were seen to work with."""
    return FLAGS if metadata.version("jaxlib").startswith(FLAGS_KNOWN_TO) else ""


def environment() -> dict[str, str]:
    """Environment variables for a process that compiles; what the user has set goes before them."""
    return {
        "JAX_COMPILATION_CACHE_DIR": str(folder() / "programs"),
        "JAX_COMPILATION_CACHE_MAX_SIZE": str(MAX_BYTES),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "PYTHONHASHSEED": "0",  # NumPyro goes through sets of names: their order is the program's
        "XLA_FLAGS": compiler_flags(),
    }


def compiler_options(method) -> dict[str, bool]:
    """For the program of one method, where the flags of all are ours."""
    ours = compiler_flags() and compiler_flags() in os.environ.get("XLA_FLAGS", "")
    newer = ours and getattr(getattr(method, "run", None), "__name__", "") in LONG_RUNS
    return {"xla_cpu_use_fusion_emitters": True} if newer else {}
