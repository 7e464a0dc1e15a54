"""The benchmark of GPUs: its parts at tiny sizes on the CPU, and what it says without a GPU."""

import json
import signal
import time

import pytest
import torch

from benchmarks.gpu import __main__ as command
from benchmarks.gpu import correct, steps
from benchmarks.gpu.correct import correctness, error
from benchmarks.gpu.settings import Settings
from benchmarks.gpu.steps import COMPILED, PEERS, memory, torch_resnet18, training
from benchmarks.gpu.transfer import collectives, copies, decoding


def tiny(**changes):
    sizes = {"side": 32, "batch": 2, "batches": (2,), "seconds": 0.0, "precisions": ("float32",), "values": 1000}
    others = {"compiler": "eager", "backend": "gloo", "pictures": 2, "cores": 2, "deadline": time.monotonic() + 600}
    return Settings(torch.device("cpu"), **{**sizes, **others, **changes})


def test_the_error_is_relative_to_the_length():
    assert error(torch.tensor([3.0, 4.5]), torch.tensor([3.0, 4.0])) == pytest.approx(0.5 / 5)


def test_float32_is_near_float64_and_wrong_gradients_are_found(monkeypatch):
    found = correctness(tiny(), ("lenet", "ssd", "zhang"))
    assert all(case["error"] == case["error_of_cpu"] < 1e-5 and case["is_right"] for case in found.values())
    gradients, calls = correct.gradients, []

    def wrong(*given):  # the second of three calls is that of the device
        calls.append(given)
        return gradients(*given) * (1.01 if len(calls) == 2 else 1.0)

    monkeypatch.setattr(correct, "gradients", wrong)
    found = correctness(tiny(), ("lenet",))["lenet"]
    assert found["error"] == pytest.approx(0.01, rel=1e-3)
    assert not found["is_right"]


def test_the_peer_is_the_same_network():
    assert sum(one.numel() for one in torch_resnet18(1000, False).parameters()) == 11_689_512
    images = torch.rand(2, 3, 64, 64)
    assert all(peer(10, True)(images).shape == (2, 10) for peer in PEERS.values())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's, of what it leaves as it is
def test_steps_of_every_form_that_a_cpu_has_are_timed(monkeypatch):
    forms = "pellucid", "pytorch", *COMPILED
    with monkeypatch.context() as patch:
        patch.setattr(steps, "NETWORKS", {"resnet18": steps.NETWORKS["resnet18"]})
        found = training(tiny(), forms)
    assert list(found) == [f"resnet18, float32, {form}" for form in forms]
    assert not [one["error"] for one in found.values() if "error" in one]
    for one in found.values():
        assert one["images_per_second"] == pytest.approx(2 / one["seconds"])
    assert memory(tiny()) == {"pellucid, batch 2": {"bytes": None}, "pytorch, batch 2": {"bytes": None}}


def test_a_form_that_fails_costs_no_other(monkeypatch):
    def fails(*_):
        raise RuntimeError("no\nmemory")

    monkeypatch.setattr(steps, "NETWORKS", {"resnet18": steps.NETWORKS["resnet18"]})
    monkeypatch.setitem(steps.FORMS, "pellucid", fails)
    found = training(tiny(), ("pellucid", "pytorch"))
    assert found["resnet18, float32, pellucid"] == {"error": "RuntimeError: no memory"}
    assert found["resnet18, float32, pytorch"]["seconds"] > 0
    late = training(tiny(deadline=0.0), ("pytorch",))
    assert late == {"resnet18, float32, pytorch": {"error": "no time left"}}


@pytest.mark.slow
def test_the_alarm_ends_one_measurement_and_all_after_it():
    begun = time.monotonic()
    settings = tiny(deadline=begun + 1)
    earlier = signal.signal(signal.SIGALRM, command.late)
    signal.alarm(1)
    try:
        found = [settings.tried(lambda: time.sleep(60)) for _ in range(2)]
    finally:
        signal.signal(signal.SIGALRM, earlier)
    assert found == [{"error": "TimeoutError: no time left"}, {"error": "no time left"}]
    assert time.monotonic() - begun < 10


def test_exchanges_copies_and_decoding_are_timed():
    found = collectives(tiny())
    assert set(found) == {"all_reduce", "all_gather", "all_to_all", "broadcast"}
    for one in [*found.values(), *copies(tiny()).values()]:
        assert one["is_right"]
        assert one["bytes_per_second"] > 0
    assert not torch.distributed.is_initialized()
    assert set(decoding(tiny())) == {"1 threads", "2 threads"}


def test_the_file_has_the_parts_that_are_done(tmp_path, capsys):
    out, seen = tmp_path / "gpu.json", []

    def second(settings):
        seen.append(json.loads(out.read_text())["first"]["figures"])
        raise ValueError("broken")

    found = command.measured({"first": lambda settings: {"a": 1}, "second": second}, tiny(), out)
    assert seen == [{"a": 1}]
    assert json.loads(out.read_text()) == found
    assert found["device"] == "cpu"
    assert found["second"]["figures"] == {"error": "ValueError: broken"}
    assert [list(json.loads(line)) for line in capsys.readouterr().out.splitlines()] == [["first"], ["second"]]


def test_without_a_gpu_it_says_so_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr("sys.argv", ["gpu"])
    assert command.main() == 2
    assert capsys.readouterr().err == (
        "benchmarks.gpu: this machine has no GPU that PyTorch can use; run it on one that has\n"
    )
    monkeypatch.setattr("sys.argv", ["gpu", "speed"])
    with pytest.raises(SystemExit):
        command.main()
    assert "no part 'speed'; parts: correctness, collectives" in capsys.readouterr().err
