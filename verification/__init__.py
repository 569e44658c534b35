"""Approximations held to exact Bayesian answers: `python -m verification`, or `verify` and `compare` from Python."""


def __getattr__(name: str):
    """`verify`, `compare` and `told`, brought in when asked for: the exact answers need none of what they import."""
    if name in ("verify", "compare", "told"):
        from verification import api

        return getattr(api, name)
    raise AttributeError(f"module 'verification' has no attribute {name!r}")
