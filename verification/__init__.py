"""The harness: methods against exact Bayesian answers. Run it with `python -m verification`."""
