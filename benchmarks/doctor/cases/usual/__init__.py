"""The usual mistakes, in classification and regression, by their ids."""

from collections.abc import Mapping

from benchmarks.doctor.cases.usual import data, labels, learning, network
from benchmarks.doctor.fit import Case

CASES: Mapping[str, Case] = {**labels.CASES, **data.CASES, **network.CASES, **learning.CASES}
