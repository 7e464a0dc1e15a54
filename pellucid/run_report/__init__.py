"""The report of a run: one HTML file that opens without a network."""

from pellucid.run_report.data import Mistakes, ReportData
from pellucid.run_report.gather import gather
from pellucid.run_report.write import write_report

__all__ = ["Mistakes", "ReportData", "gather", "write_report"]
