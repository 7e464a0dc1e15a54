"""Our layers and combinators as PyTorch's modules, in Python text."""
