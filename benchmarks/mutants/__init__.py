"""The mutation check: backward passes broken on purpose, and whether the tests and the scorecard notice."""
