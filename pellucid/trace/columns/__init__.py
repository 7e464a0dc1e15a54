"""Columns of Jacobians: what one number moves, one file for each family of layers."""
