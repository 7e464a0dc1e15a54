"""Relevance by Pellucid, Zennit and LXT: `python -m benchmarks.relevance` writes docs/relevance.md."""
