"""Sample pictures and small annotated folders, from scikit-learn or drawn by a program, without downloads."""

from pellucid.data.samples.files import Sample, write_samples

__all__ = ["Sample", "write_samples"]
