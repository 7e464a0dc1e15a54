"""Sweeps: trainings of one recipe with many settings, by a grid or a search, each in an ordinary run folder."""
