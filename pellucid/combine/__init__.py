"""Combinators: networks made of layers."""

from pellucid.combine.base import Back, Combinator, LayerRun, join, walk
from pellucid.combine.fork import Fork
from pellucid.combine.graph import Graph
from pellucid.combine.parallel import Parallel
from pellucid.combine.sequential import Sequential
from pellucid.combine.shared import Shared

__all__ = ["Back", "Combinator", "Fork", "Graph", "LayerRun", "Parallel", "Sequential", "Shared", "join", "walk"]
