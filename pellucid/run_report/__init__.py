"""The report of a run: one HTML file that needs no internet connection."""

from pellucid.run_report.data import Mistakes, ReportData, gather
from pellucid.run_report.page import write_report

__all__ = ["Mistakes", "ReportData", "gather", "write_report"]
