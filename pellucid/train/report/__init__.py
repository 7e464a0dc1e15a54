"""The report of a run: one HTML file that opens without a network."""

from pellucid.train.report.data import Mistakes, ReportData
from pellucid.train.report.gather import gather
from pellucid.train.report.write import write_report

__all__ = ["Mistakes", "ReportData", "gather", "write_report"]
