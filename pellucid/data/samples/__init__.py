"""Sample pictures and small annotated folders, real ones of scikit-learn and drawn ones, with nothing to download."""

from pellucid.data.samples.written import Sample, write_samples

__all__ = ["Sample", "write_samples"]
