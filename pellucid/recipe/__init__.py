"""Recipes: TOML files, checked key by key, and the trainings that they describe."""
