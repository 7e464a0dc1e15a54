"""The report of a run: one HTML file that needs no internet connection."""

from pellucid.recipe.run_report.data import ReportData, read_report_data
from pellucid.recipe.run_report.page import write_report

__all__ = ["ReportData", "read_report_data", "write_report"]
