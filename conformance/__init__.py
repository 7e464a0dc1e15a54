"""The scorecard: outside test suites (those of other projects) run against Pellucid, and the table of their results."""
