"""Verification: every explicit gradient compared with PyTorch's autograd and with central differences.

Only this package uses autograd; training does not.
"""

from pellucid.verify.network import pull_back, verify
from pellucid.verify.objective import verify_objective
from pellucid.verify.table import GradientRow, GradientTable

__all__ = ["GradientRow", "GradientTable", "pull_back", "verify", "verify_objective"]
