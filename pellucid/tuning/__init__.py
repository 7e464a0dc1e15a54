"""Trainings with many settings of one recipe: a grid, or a search; each is an ordinary run folder."""
