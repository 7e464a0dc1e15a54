"""Lists of tensors are processed in chunks of limited size."""

import torch

from pellucid.optim import foreach


def test_chunks_contain_all_values_within_the_size_limit(monkeypatch):
    monkeypatch.setattr(foreach, "MAX_CHUNK_VALUES", 10)
    shapes = [(3,), (7,), (1,), (8, 3), (4,), (2, 16), (), (0,), (6,)]
    first = [torch.rand(shape) for shape in shapes]
    second = [torch.rand(shape) for shape in shapes]
    expected = [tensor + 1 for tensor in first]
    sizes = []
    for first_chunk, second_chunk in foreach.chunks(first, second):
        assert [tensor.shape for tensor in first_chunk] == [tensor.shape for tensor in second_chunk]
        sizes.append([tensor.numel() for tensor in first_chunk])
        foreach.add_(first_chunk, 1.0)
    assert sizes == [[3, 7], [1, 9], [9], [6, 4], [16], [16], [1, 0, 6]]  # a row of 16 values is never divided
    for tensor, expected_tensor in zip(first, expected, strict=True):
        assert torch.equal(tensor, expected_tensor)
    assert list(foreach.chunks([])) == []
