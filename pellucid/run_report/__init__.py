"""The report of a run: one HTML file that needs no internet connection."""

from pellucid.run_report.data import ReportData, read_report_data
from pellucid.run_report.page import write_report

__all__ = ["ReportData", "read_report_data", "write_report"]
