"""Lists of tensors in parts."""

import torch

from pellucid.optim import foreach


def test_runs_cover_all_values_within_the_size_limit(monkeypatch):
    monkeypatch.setattr(foreach, "MAX_RUN", 10)
    shapes = [(3,), (7,), (1,), (8, 3), (4,), (2, 16), (), (0,), (6,)]
    first = [torch.rand(shape) for shape in shapes]
    second = [torch.rand(shape) for shape in shapes]
    expected = [one + 1 for one in first]
    sizes = []
    for left, right in foreach.runs(first, second):
        assert [one.shape for one in left] == [one.shape for one in right]
        sizes.append([one.numel() for one in left])
        foreach.add_(left, 1.0)
    assert sizes == [[3, 7], [1, 9], [9], [6, 4], [16], [16], [1, 0, 6]]  # a row of 16 is never cut
    for one, wanted in zip(first, expected, strict=True):
        assert torch.equal(one, wanted)
    assert list(foreach.runs([])) == []
