"""The benchmark of GPUs: its parts at tiny sizes on the CPU, and what it says without a GPU."""

import json
import signal
import sys
import time

import pytest
import torch

from benchmarks.gpu import __main__ as command
from benchmarks.gpu import correct, steps
from benchmarks.gpu.correct import correctness, error
from benchmarks.gpu.keras_steps import keras_training
from benchmarks.gpu.page import page
from benchmarks.gpu.settings import Settings
from benchmarks.gpu.steps import COMPILED, PEERS, memory, torch_resnet18, training
from benchmarks.gpu.transfer import collectives, copies, decoding


def tiny_settings(**changes):
    sizes = {"side": 32, "batch": 2, "batches": (2,), "seconds": 0.0, "precisions": ("float32",), "values": 1000}
    limits = {"compiler": "eager", "backend": "gloo", "pictures": 2, "cores": 2, "deadline": time.monotonic() + 600}
    return Settings(torch.device("cpu"), **{**sizes, **limits, **changes})


def test_the_error_is_relative_to_the_length():
    assert error(torch.tensor([3.0, 4.5]), torch.tensor([3.0, 4.0])) == pytest.approx(0.5 / 5)


def test_float32_is_near_float64_and_wrong_gradients_are_found(monkeypatch):
    results = correctness(tiny_settings(), ("lenet", "ssd", "zhang"))
    assert all(case["error"] == case["error_of_cpu"] < 1e-5 and case["is_right"] for case in results.values())
    gradients, calls = correct.gradients, []

    def wrong_on_device(*arguments):  # the second of three calls for a seed is that of the device
        calls.append(arguments)
        return gradients(*arguments) * (1.01 if len(calls) % 3 == 2 else 1.0)

    monkeypatch.setattr(correct, "gradients", wrong_on_device)
    results = correctness(tiny_settings(), ("lenet",))["lenet"]
    assert results["error"] == pytest.approx(0.01, rel=1e-3)
    assert not results["is_right"]


def test_the_pytorch_peers_have_the_same_network():
    assert sum(one.numel() for one in torch_resnet18(1000, False).parameters()) == 11_689_512
    images = torch.rand(2, 3, 64, 64)
    assert all(peer(10, True)(images).shape == (2, 10) for peer in PEERS.values())


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's, of what it leaves as it is
def test_steps_of_every_form_that_a_cpu_has_are_timed(monkeypatch):
    forms = "pellucid", "pytorch", *COMPILED
    with monkeypatch.context() as patch:
        patch.setattr(steps, "NETWORKS", {"resnet18": steps.NETWORKS["resnet18"]})
        results = training(tiny_settings(), forms)
    assert list(results) == [f"resnet18, float32, {form}" for form in forms]
    assert not [result["error"] for result in results.values() if "error" in result]
    for result in results.values():
        assert result["images_per_second"] == pytest.approx(2 / result["seconds"])
    assert memory(tiny_settings()) == {"pellucid, batch 2": {"bytes": None}, "pytorch, batch 2": {"bytes": None}}


def test_a_failing_form_does_not_stop_the_others(monkeypatch):
    def raise_error(*_):
        raise RuntimeError("no\nmemory")

    monkeypatch.setattr(steps, "NETWORKS", {"resnet18": steps.NETWORKS["resnet18"]})
    monkeypatch.setitem(steps.FORMS, "pellucid", raise_error)
    results = training(tiny_settings(), ("pellucid", "pytorch"))
    assert results["resnet18, float32, pellucid"] == {"error": "RuntimeError: no memory"}
    assert results["resnet18, float32, pytorch"]["seconds"] > 0
    after_deadline = training(tiny_settings(deadline=0.0), ("pytorch",))
    assert after_deadline == {"resnet18, float32, pytorch": {"error": "no time left"}}


@pytest.mark.slow
def test_the_alarm_ends_one_measurement_and_all_after_it():
    start = time.monotonic()
    settings = tiny_settings(deadline=start + 1)
    previous_handler = signal.signal(signal.SIGALRM, command.stop_measurement)
    signal.alarm(1)
    try:
        results = [settings.try_measure(lambda: time.sleep(60)) for _ in range(2)]
    finally:
        signal.signal(signal.SIGALRM, previous_handler)
    assert results == [{"error": "TimeoutError: no time left"}, {"error": "no time left"}]
    assert time.monotonic() - start < 10


def test_keras_reports_what_it_lacks_in_its_process(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    results = keras_training(tiny_settings())
    assert results == {"resnet50, float32, keras on jax": {"error": "RuntimeError: no message"}}


def test_exchanges_copies_and_decoding_are_timed():
    results = collectives(tiny_settings())
    assert set(results) == {"all_reduce", "all_gather", "all_to_all", "broadcast"}
    for result in [*results.values(), *copies(tiny_settings()).values()]:
        assert result["is_right"]
        assert result["bytes_per_second"] > 0
    assert not torch.distributed.is_initialized()
    assert set(decoding(tiny_settings())) == {"1 threads", "2 threads"}


def test_the_file_contains_the_figures_of_completed_parts(tmp_path, capsys):
    output_file, first_figures = tmp_path / "gpu.json", []

    def failing_part(settings):
        first_figures.append(json.loads(output_file.read_text())["first"]["figures"])
        raise ValueError("broken")

    results = command.measure_parts(
        {"first": lambda settings: {"a": 1}, "second": failing_part}, tiny_settings(), output_file
    )
    assert first_figures == [{"a": 1}]
    assert json.loads(output_file.read_text()) == results
    assert results["device"] == "cpu"
    assert results["second"]["figures"] == {"error": "ValueError: broken"}
    assert [list(json.loads(line)) for line in capsys.readouterr().out.splitlines()] == [["first"], ["second"]]
    assert output_file.with_suffix(".md").read_text().startswith("# A GPU\n")


def test_the_page_shows_figures_and_errors():
    step = {"seconds": 0.01, "images_per_second": 6400.0, "bytes": 3 << 20}
    parts = {
        "correctness": {"mlp": {"error": 1e-7, "error_of_cpu": 2e-7, "is_right": True}, "vit": {"error": "a|b"}},
        "training": {"resnet50, bf16, pellucid": step, "resnet50, bf16, pytorch, CUDA graph": {"error": "no memory"}},
        "keras": {"resnet50, bf16, keras on jax": {"seconds": 0.02, "images_per_second": 3200.0}},
        "compiled": {"error": "no time left"},
        "copies": {"to the device": {"bytes_per_second": 5e9, "is_right": False}},
        "decoding": {"error": "no time left"},
    }
    results = {"device": "cuda (X)", "cpu": "Y", "python": "3.11", "torch": "2"}
    text = page({**results, **{name: {"figures": part, "seconds": 1.0} for name, part in parts.items()}})
    for line in [
        "| mlp | 1.0e-07 | 2.0e-07 | yes |",
        r"| vit | a\|b |  | **no** |",
        "| resnet50 | bf16 | pellucid | 10.00 ms | 6,400 | 1.00 | 3 MiB |",
        "| resnet50 | bf16 | pytorch, CUDA graph | no memory |  |  |  |",
        "| resnet50 | bf16 | keras on jax | 20.00 ms | 3,200 | 2.00 |  |",
        "| copies | to the device | 5.0 GB/s, **wrong values** |",
        "| compiled |  |  | no time left |  |  |  |",
        "| decoding | error | no time left |",
    ]:
        assert line in text.splitlines()


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


def test_parts_of_an_earlier_run_on_the_same_machine_are_kept(tmp_path):
    output_file = tmp_path / "gpu.json"
    command.measure_parts({"first": lambda settings: {"a": {"error": "x"}}}, tiny_settings(), output_file)
    command.measure_parts({"second": lambda settings: {"b": {"error": "y"}}}, tiny_settings(), output_file)
    results = json.loads(output_file.read_text())
    assert results["first"]["figures"] == {"a": {"error": "x"}}
    assert results["second"]["figures"] == {"b": {"error": "y"}}
    output_file.write_text(json.dumps({**results, "torch": "another"}))
    command.measure_parts({"second": lambda settings: {"b": {"error": "y"}}}, tiny_settings(), output_file)
    assert "first" not in json.loads(output_file.read_text())
