"""The user-defined task of `counting.py`: training, resuming, loading, explanations and commands."""

import json
import os
import signal
from functools import partial
from pathlib import Path

import pytest
import torch

from pellucid import Callback, Model, PellucidError
from pellucid.cli.main import main
from pellucid.extend.registry import REGISTERED
from tests.forked import run_forked
from tests.own import counting, elsewhere

FILE = str(Path(counting.__file__))
MAX_COUNT_ERROR = 0.4  # seeds 0, 1, 2 reach 0.30, 0.32, 0.28; a constant prediction of the median has 1.47
HELD_OUT = counting.Blobs(64, seed=99)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("counting") / "run"


@pytest.fixture(scope="module")
def trained(run) -> Model:
    return counting.train(str(run))


def test_the_map_of_an_example_sums_to_its_count_and_depends_only_on_the_index():
    batch = counting.Blobs(40, seed=3).batch(range(40), torch.Generator())
    counts = batch.targets.sum((1, 2, 3))
    assert (counts - counts.round()).abs().max() < 1e-4
    assert counts.round().unique().tolist() == [0, 1, 2, 3, 4, 5, 6]
    single = counting.Blobs(40, seed=3).batch([17], torch.Generator().manual_seed(1))
    assert torch.equal(single.images[0], batch.images[17])
    assert torch.equal(single.targets[0], batch.targets[17])


@pytest.mark.heavy
@pytest.mark.slow
def test_a_user_defined_task_learns_to_count(trained):
    result = trained.evaluate(HELD_OUT)
    images, maps = HELD_OUT.batch(range(64), torch.Generator())
    count_errors = trained.predict(images).sum((1, 2, 3)) - maps.sum((1, 2, 3))
    assert result["count_error"] < MAX_COUNT_ERROR
    assert result["n"] == 64
    assert result["count_error"] == pytest.approx(float(count_errors.abs().mean()), abs=1e-5)


class KillInThirdEpoch(Callback):
    """Kill the process at the end of the third epoch."""

    def on_epoch_end(self, training, row):
        if row["epoch"] == 3:
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.heavy
@pytest.mark.slow
def test_a_killed_training_resumes_to_the_same_weights(trained, tmp_path):
    code, _ = run_forked(partial(counting.train, str(tmp_path / "run"), callbacks=[KillInThirdEpoch()]))
    assert code == -signal.SIGKILL
    epochs = []

    class EpochRecorder(Callback):
        def on_epoch_end(self, training, row):
            epochs.append(row["epoch"])

    resumed = counting.train(str(tmp_path / "run"), resume=True, callbacks=[EpochRecorder()])
    assert resumed.sha256() == trained.sha256()
    # The training was resumed and not restarted: the first epoch is always saved, the second unless the disk is slow.
    assert epochs in ([3, 4], [2, 3, 4])


@pytest.mark.heavy
@pytest.mark.slow
def test_a_new_process_loads_the_model_by_custom_or_by_registration(trained, tmp_path):
    trained.save(tmp_path / "own.safetensors")
    code, (refusal, result) = run_forked(elsewhere.load_without_and_with_parts, tmp_path / "own.safetensors")
    assert code == 0
    assert "pellucid.register(DensityLoss)" in refusal
    assert result == 2 * [(trained.sha256(), trained.evaluate(counting.Blobs(8)))]


@pytest.mark.parametrize("size", [(48, 80), (33, 47)])
def test_images_of_another_size_are_counted(trained, size):
    examples = [counting.draw_example(index, size, seed=5) for index in range(8)]
    counts = torch.stack([density for _, density in examples]).sum((1, 2, 3))
    predicted_maps = trained.predict(torch.stack([image for image, _ in examples]))
    assert predicted_maps.shape == (8, 1, size[0] // 2, size[1] // 2)
    assert (predicted_maps.sum((1, 2, 3)) - counts).abs().mean() < 2 * MAX_COUNT_ERROR


def test_the_explanation_of_a_count_is_complete_and_largest_at_the_blobs(trained):
    images, maps = HELD_OUT.batch([1], torch.Generator())
    relevance = trained.explain(images, "integrated_gradients", "density[0, :, :]", steps=64)
    count = trained.predict(images).sum() - trained.predict(torch.zeros_like(images)).sum()
    assert float(relevance.sum()) == pytest.approx(float(count), rel=0.02)
    blobs = torch.nn.functional.interpolate(maps, scale_factor=2) > 0.01
    assert relevance[blobs].mean() > 5 * relevance[~blobs].abs().mean()


def test_every_gradient_is_verified_and_traced_to_the_loss(trained):
    images, maps = HELD_OUT.batch(range(2), torch.Generator())
    assert trained.verify(images, maps).ok
    trace = trained.trace(images, maps)
    assert "∂C/∂density.bias[0]" in str(trace.explain("density.bias[0]"))


@pytest.fixture
def command(trained, run, monkeypatch, capsys):
    """A function that runs a command with `--custom` and unregistered classes; it returns (code, stdout, stderr)."""

    def run_command(name: str, *args: str) -> tuple[int, str, str]:
        remaining_parts = {name: part for name, part in REGISTERED.items() if name not in ("DensityLoss", "CountError")}
        monkeypatch.setattr("pellucid.extend.registry.REGISTERED", remaining_parts)
        code = main([name, str(run), *args, "--custom", FILE])
        return code, *capsys.readouterr()

    return run_command


@pytest.mark.parametrize("name", ["summary", "verify"])
def test_a_command_accepts_the_file_that_registers_the_classes(command, name):
    code, out, err = command(name, "--json")
    assert code == 0, err
    assert json.loads(out)


@pytest.mark.parametrize(
    ("name", "args", "hint"),
    [
        ("predict", ["none.png"], "use Model.predict"),
        ("evaluate", [], "Model.evaluate in Python"),
        ("doctor", [], "model.doctor(x, y)"),
    ],
)
def test_a_command_for_classifiers_names_the_alternative(command, name, args, hint):
    code, _, err = command(name, *args)
    assert code == 2
    assert hint in err
    assert err.count("\n") == 1


def test_a_run_of_fit_is_resumed_from_python(trained, run, capsys):
    assert main(["train", "--resume", str(run)]) == 2
    assert "resume=True" in capsys.readouterr().err


def test_errors_about_sources_and_files_name_a_remedy(trained, run):
    class NoClasses(counting.Blobs):
        classes = ()

    with pytest.raises(PellucidError, match="for targets that are not classes give None"):
        counting.model().fit(NoClasses(8), epochs=1, verbose=False)
    with pytest.raises(PellucidError, match="different shapes; give each shape as a separate batch"):
        trained.predict([torch.zeros(1, 32, 32), torch.zeros(1, 48, 32)])
    assert Model.load(run).source == run / "weights/best.safetensors"
