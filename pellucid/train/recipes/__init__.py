"""Recipes as values: their tables, how they are read, checked, written and turned into objects."""
