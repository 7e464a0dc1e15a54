"""Damaged and forged weights files and pictures, each through load and predict: `python -m benchmarks.fuzz`."""
