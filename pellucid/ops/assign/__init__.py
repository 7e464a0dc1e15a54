"""Assigners: match anchors to objects for training, with a reason for each anchor."""

from pellucid.ops.assign.atss import assign_atss
from pellucid.ops.assign.base import REASONS, Assignment, Reason, sample
from pellucid.ops.assign.best_anchor import assign_best_anchor
from pellucid.ops.assign.bipartite import assign_bipartite
from pellucid.ops.assign.grid import assign_grid
from pellucid.ops.assign.iou import assign_by_iou

__all__ = [
    "REASONS",
    "Assignment",
    "Reason",
    "assign_atss",
    "assign_best_anchor",
    "assign_bipartite",
    "assign_by_iou",
    "assign_grid",
    "sample",
]
