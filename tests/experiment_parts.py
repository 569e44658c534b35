"""What tests of experiments share."""


def is_figure(path) -> bool:
    """Whether a PNG with something on it was written."""
    return path.read_bytes()[:4] == b"\x89PNG" and path.stat().st_size > 20_000


def caught(monkeypatch, module, name):
    """A list that gets the positional arguments of each call of module.name."""
    calls, keep = [], getattr(module, name)
    monkeypatch.setattr(module, name, lambda *args: calls.append(args) or keep(*args))
    return calls
