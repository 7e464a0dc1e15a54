"""The faults of the benchmark, one module for each kind."""
