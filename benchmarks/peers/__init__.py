"""The jobs of the benchmark in each library; a peer's `make(job)` returns a function that runs a number of steps."""
