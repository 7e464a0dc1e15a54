"""The functions that make the mistakes of list.toml, by id."""

from collections.abc import Callable, Mapping

from benchmarks.mistakes.cases import data, labels, learning, network
from benchmarks.mistakes.training import TrainedPair

CASES: Mapping[str, Callable[[int], TrainedPair]] = {**labels.CASES, **data.CASES, **network.CASES, **learning.CASES}
