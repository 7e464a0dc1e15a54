"""Code for `--custom` that disables reports of runs, since their figures take longer than a small training."""

from pellucid.recipe import run_report

run_report.write_report = lambda run, data: run / "report.html"
