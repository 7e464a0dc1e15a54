"""Conversion of layers and combinators to source code of PyTorch modules."""
