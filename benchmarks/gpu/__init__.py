"""What a GPU computes, how fast, and in how much memory: `python -m benchmarks.gpu [PART ...] [--out FILE]`."""
