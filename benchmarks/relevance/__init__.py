"""Comparison of relevance maps with Zennit, LXT and Captum: `python -m benchmarks.relevance`."""
