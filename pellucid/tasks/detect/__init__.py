"""Detection: what was found, missed and mistaken in images."""

from pellucid.tasks.detect.findings import Finding, findings

__all__ = ["Finding", "findings"]
