"""One file for each library that does the benchmark's work."""
