"""Unusual mistakes in trainings of all tasks, by their ids.

Those of the first list are in the files of their tasks, those of its unopened half in `unopened_*.py`, and those of the
second list in `second_*.py`, and so on.
"""
