"""The scorecard: outside test suites run against every part of ours, and the table of how it went."""
