"""One flat script a question: `python -m experiments.NAME` prints one table and saves one figure."""
