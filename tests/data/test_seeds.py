"""Seeds mixed by splitmix64."""

import torch

from pellucid.data.seeds import generator, mix


def test_mix_of_zero_is_the_first_output_of_splitmix64():
    # The published output of splitmix64 with seed 0 begins with 0xE220A8397B1DCDAF.
    assert mix(0) == 0xE220A8397B1DCDAF


def test_mix_chains_splitmix64():
    assert mix(0, 7) == mix(mix(0) ^ 7)


def test_neighbouring_parts_give_unrelated_seeds():
    seeds = {mix(seed, epoch, batch) for seed in range(5) for epoch in range(20) for batch in range(50)}
    assert len(seeds) == 5 * 20 * 50
    assert mix(1, 2) != mix(2, 1)
    assert mix(-1) != mix(1)


def test_generators_of_equal_parts_agree():
    a, b, c = (torch.rand(5, generator=generator(*parts)) for parts in ((1, 2), (1, 2), (1, 3)))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
