"""A file for `--custom`: runs write no report, whose figures take longer than a small training."""

from pellucid.recipe import job

job.write_report = lambda run, data: run / "report.html"
