"""The report of a comparison: one HTML file that opens without a network, its pictures, and its table."""

from pellucid.tasks.gestures.report.write import PAGE, TABLE, VALUES, write_comparison

__all__ = ["PAGE", "TABLE", "VALUES", "write_comparison"]
