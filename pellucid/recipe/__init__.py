"""Recipes: a TOML file, checked key by key, and the training that it describes."""
