"""Training on GPUs in one process and in several: which GPU each uses, and that their number changes no bits."""

import pytest
import torch

from pellucid.training.device import usable_device
from tests.forked import run_forked, run_group
from tests.training.sharded import train_case, weights_on_gpu
from tests.training.small import StopAt, Stopped, digits, small_conv

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU that PyTorch can use")


def test_each_process_of_a_machine_uses_one_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert str(usable_device("cuda")) == "cuda:0"
    monkeypatch.setenv("LOCAL_RANK", "3")
    names = "cuda", "auto", "cuda:0", "cpu"
    assert [str(usable_device(name)) for name in names] == ["cuda:1", "cuda:1", "cuda:0", "cpu"]
    for rank in ("", "-1"):  # of other launchers
        monkeypatch.setenv("LOCAL_RANK", rank)
        assert str(usable_device("cuda")) == "cuda:0"


@needs_gpu
@pytest.mark.parametrize("shards", [3, 4])  # whose sums are exchanged in a tree, and at once
def test_two_processes_on_gpus_give_bit_identical_weights_to_one(shards):
    code, expected = run_forked(weights_on_gpu, shards)
    assert code == 0
    for code, result, error in run_group(2, weights_on_gpu, shards):
        assert code == 0, error
        assert {name: result[name] == expected[name] for name in expected} == dict.fromkeys(expected, True)


@needs_gpu
def test_a_repeated_training_in_shards_on_a_gpu_ends_in_the_same_weights():
    assert train_case("resnet20", "cuda", shards=4).sha256() == train_case("resnet20", "cuda", shards=4).sha256()
    assert not torch.are_deterministic_algorithms_enabled()


@needs_gpu
def test_a_training_in_shards_on_a_gpu_is_resumed_exactly(tmp_path):
    options = {"epochs": 3, "batch_size": 48, "verbose": False, "checkpoint_seconds": 0.0}

    def new_model():
        return small_conv(device="cuda")

    uninterrupted = new_model()
    uninterrupted.fit(digits(), accumulate=3, **options)
    with pytest.raises(Stopped):
        new_model().fit(digits(), accumulate=3, run=tmp_path, callbacks=[StopAt(9)], **options)
    resumed = new_model()
    resumed.fit(digits(), run=tmp_path, resume=True, **options)
    assert resumed.sha256() == uninterrupted.sha256()
