"""Fuzzing of the readers with damaged and forged files: `python -m benchmarks.fuzz`."""
