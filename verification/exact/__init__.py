"""Exact posteriors in NumPy/SciPy float64. Nothing here imports the library that it judges."""
