"""Trainings by other people's libraries, from scratch; they run in an environment of their own, see `make quality`."""
