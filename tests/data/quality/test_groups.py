"""Groups that pairs make, against SciPy's connected components."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pellucid.data.quality import Groups

N = 12
PAIRS = st.lists(st.tuples(st.integers(0, N - 1), st.integers(0, N - 1)), max_size=20)


@given(PAIRS)
def test_groups_are_the_connected_components(pairs):
    groups = Groups(N)
    new = [groups.join(i, j) for i, j in pairs]
    i, j = np.array(pairs, int).reshape(-1, 2).T
    count, label = connected_components(coo_array((np.ones(len(i)), (i, j)), (N, N)), directed=False)
    assert all(groups.joined(a, b) == (label[a] == label[b]) for a in range(N) for b in range(N))
    assert [groups.first(a) for a in range(N)] == [int(np.argmax(label == label[a])) for a in range(N)]
    assert N - sum(new) == count
