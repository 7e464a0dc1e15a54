"""The messages of the view Inspect equal computations with plain PyTorch and NumPy."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.cli.main import main
from pellucid.command.models import open_network
from pellucid.export import to_onnx
from pellucid.model import Model
from pellucid.models import mlp
from pellucid.nested import flatten, leaves
from pellucid.studio.inspect.session import BINS
from pellucid.studio.runs import Runs
from pellucid.studio.view import Library
from tests.studio.talk import Tab


@pytest.fixture
def tab() -> Tab:
    return Tab()


def test_parameters_and_operations_equal_the_formulas(tab: Tab) -> None:
    layers = tab.ask("inspect.open", model="mnist-lenet")["layers"]
    rows = {row["path"]: row for row in layers}
    conv, dense = rows["features.conv1"], rows["head.scores"]
    (o, c, h, w), (_, rows_out, columns) = conv["weight"], conv["shape"]
    assert conv["parameters"] == o * c * h * w + o
    assert conv["multiply_adds"] == o * c * h * w * rows_out * columns
    out, inputs = dense["weight"]
    assert (dense["parameters"], dense["multiply_adds"]) == (out * inputs + out, out * inputs)
    assert sum(row["parameters"] for row in layers) == 61_706  # LeNet-5 with padding, counted by hand
    assert [row["sources"] for row in layers[1:]] == [[k] for k in range(len(layers) - 1)]  # a sequence


def test_an_upload_replaces_the_bundled_picture() -> None:
    library = Library(("cifar",), Model.load)
    tab = Tab(library)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    upload, _ = library.uploads.add(file.getvalue())
    opened = tab.ask("inspect.open", upload=upload)
    assert opened["upload"] == upload
    model = Model.load("cifar")
    x = model.scaled(torch.tensor(pixels).permute(2, 0, 1)[None] / 255)
    assert torch.allclose(opened["tensors"]["x"], x[0], atol=1e-6)
    first = opened["layers"][0]["path"]
    conv = flatten(model.params)[f"{first}.weight"].detach()
    expected = F.conv2d(x, conv, flatten(model.params).get(f"{first}.bias"))[0]
    maps = tab.ask("inspect.tiles", path=first, show="maps")["tensors"]["tiles"]
    assert torch.allclose(maps, expected, atol=1e-4)
    assert "no upload 'u99'" in tab.ask("inspect.open", upload="u99")["message"]


def test_shortcuts_are_named() -> None:
    tab = Tab(Library(("cifar",), Model.load))
    layers = tab.ask("inspect.open")["layers"]
    joined = [row for row in layers if row["layer"].startswith("Add")]
    assert len(joined) == 3
    for row in joined:
        own = layers.index(row)
        assert own - 1 in row["sources"]
        (skipped,) = {*row["sources"]} - {own - 1}
        assert layers[skipped]["shape"] == row["shape"]


def test_filters_and_maps_are_those_of_the_network(tab: Tab) -> None:
    opened = tab.ask("inspect.open", model="mnist-lenet")
    flat = {name: one.detach() for name, one in Model.load("mnist-lenet").params["features"]["conv1"].items()}
    filters = tab.ask("inspect.tiles", path="features.conv1")["tensors"]["tiles"]
    assert torch.equal(filters, flat["weight"][:, 0])
    assert tab.ask("inspect.tiles", path="features.conv2", channel=6)["kind"] == "error"
    x = opened["tensors"]["x"][None]
    expected = F.conv2d(x, flat["weight"], flat["bias"], padding=2)[0]
    maps = tab.ask("inspect.tiles", path="features.conv1", show="maps")
    torch.testing.assert_close(maps["tensors"]["tiles"], expected, rtol=1e-5, atol=1e-5)
    assert maps["silent"] == [k for k in range(len(expected)) if float(expected[k].max()) <= 0]


def test_weights_of_a_dense_layer_are_laid_out_like_the_maps_that_it_reads(tab: Tab) -> None:
    for model, path, shape in [
        ("mnist-lenet", "head.dense1", (16, 5, 5)),
        ("mnist-mlp-100", "features.dense1", (1, 28, 28)),
        ("mnist-mlp-100", "head.scores", (1, 1, 100)),
    ]:
        tab.ask("inspect.open", model=model)
        weight = flatten(Model.load(model).params)[f"{path}.weight"]
        last = shape[0] - 1
        answer = tab.ask("inspect.tiles", path=path, channel=last)
        assert answer["channels"] == shape[0]
        expected = weight.reshape(len(weight), *shape)[:, last]
        assert torch.equal(answer["tensors"]["tiles"], expected[: len(answer["tensors"]["tiles"])])


def test_histograms_equal_numpys(tab: Tab) -> None:
    tab.ask("inspect.open", model="mnist-lenet")
    answer = tab.ask("inspect.histograms", path="features.conv2")
    weight = Model.load("mnist-lenet").params["features"]["conv2"]["weight"].detach().numpy()
    counts, edges = np.histogram(weight, BINS)
    assert int(answer["tensors"]["weight"].sum()) == weight.size
    assert np.abs(answer["tensors"]["weight"].numpy() - counts).sum() <= 2  # float32 rounding at edges of bins
    assert answer["ranges"]["weight"]["low"] == pytest.approx(edges[0])
    assert answer["ranges"]["weight"]["std"] == pytest.approx(float(weight.std()), rel=1e-5)


def test_gradients_of_a_layer_are_checked_and_a_wrong_one_is_reported(
    tab: Tab, monkeypatch: pytest.MonkeyPatch
) -> None:
    tab.ask("inspect.open", model="mnist-lenet")
    good = tab.ask("inspect.verify", path="features.conv1")
    assert {row["what"] for row in good["rows"]} == {"dx", "weight", "bias"}
    assert all(row["ok"] and row["autograd"] <= good["tolerance"] for row in good["rows"])
    from pellucid.layers import ReLU

    right = ReLU.backward
    monkeypatch.setattr(ReLU, "backward", lambda *given: (right(*given)[0] * 1.001, {}))
    assert not all(row["ok"] for row in tab.ask("inspect.verify", path="features.relu1")["rows"])


def test_a_layer_that_is_one_parameter_is_counted_and_verified() -> None:
    tab = Tab(Library(("vit-tiny",), Model.load))
    layers = tab.ask("inspect.open", model="vit-tiny")["layers"]
    model = Model.load("vit-tiny")
    buffers = sum(row["buffers"] for row in layers)
    assert sum(row["parameters"] for row in layers) + buffers == sum(leaf.numel() for leaf in leaves(model.params))
    path = "features.embed.positions"
    positions = flatten(model.params)[path]
    assert next(row["parameters"] for row in layers if row["path"] == path) == positions.numel()
    (row,) = tab.ask("inspect.verify", path=path)["rows"]
    assert (row["ok"], row["entries"]) == (True, positions.numel())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bccd", "camvid", "faces", "colorize"])
def test_models_of_every_task_open(name: str) -> None:
    tab = Tab(Library((name,), Model.load))
    opened = tab.ask("inspect.open")
    learned = sum(row["parameters"] + row["buffers"] for row in opened["layers"])
    params = Model.load(name).params

    def size(tree: object) -> int:
        return sum(map(size, tree.values())) if isinstance(tree, dict) else tree.numel()  # type: ignore[attr-defined]

    assert learned == size(params)
    weighted = next(row for row in opened["layers"] if row["weight"])
    assert tab.ask("inspect.tiles", path=weighted["path"], show="maps")["kind"] == "inspect.tiles"


@pytest.mark.slow
def test_filters_belong_to_outputs_and_layers_of_training_only_are_named(tmp_path: Path) -> None:
    settings = ["data.name=digits", "objective.size=8", "train.epochs=1", "data.limit=64", "recipe.threads=1"]
    assert main(["train", "mnist-dcgan", *settings, "--out", str(tmp_path)]) == 0
    run = str(tmp_path / "mnist-dcgan-1")
    model = Model.load(run)
    tab = Tab(Library((run,), Model.load))
    opened = tab.ask("inspect.open")
    assert opened["idle"] == {"discriminator": sum(leaf.numel() for leaf in leaves(model.params["discriminator"]))}
    last = [row for row in opened["layers"] if row["layer"].startswith("ConvTranspose2d")][-1]
    weight = flatten(model.params)[f"{last['path']}.weight"]
    answer = tab.ask("inspect.tiles", path=last["path"])
    assert (answer["count"], answer["channels"]) == (last["shape"][0], weight.shape[0])
    assert torch.equal(answer["tensors"]["tiles"][0], weight[0, 0])


def test_messages_before_a_model_is_open_are_refused_in_one_line(tab: Tab) -> None:
    assert "send inspect.open first" in tab.ask("inspect.verify", path="features.conv1")["message"]
    tab.ask("inspect.open", model="mnist-lenet")
    assert "no layer" in tab.ask("inspect.tiles", path="features.conv9")["message"]
    assert "has no filters" in tab.ask("inspect.tiles", path="features.relu1")["message"]


def test_runs_of_the_folder_open_with_their_latest_weights(tmp_path: Path) -> None:
    for name in ("own-1", "own-2"):
        (tmp_path / name / "weights").mkdir(parents=True)
        (tmp_path / name / "recipe.toml").touch()
    file = tmp_path / "own-1/weights/last.safetensors"
    tab = Tab(Library(("mnist-lenet",), Model.load, Runs(tmp_path)))
    assert tab.ask("inspect.open")["models"] == ["mnist-lenet"]  # no run has weights yet
    for seed in (1, 2):
        model = Model(mlp((784, 30, 10), "relu"), input_shape=(1, 28, 28), seed=seed)
        model.save(file)
        opened = tab.ask("inspect.open", model="own-1")
        assert opened["models"] == ["mnist-lenet", "own-1"]
        assert sum(row["parameters"] for row in opened["layers"]) == 784 * 30 + 30 + 30 * 10 + 10
        assert sum(row["multiply_adds"] for row in opened["layers"]) == 784 * 30 + 30 * 10
        path = next(row["path"] for row in opened["layers"] if row["weight"])
        tiles = tab.ask("inspect.tiles", path=path)["tensors"]["tiles"]
        assert torch.equal(tiles.flatten(1), flatten(model.params)[f"{path}.weight"])
        assert tab.ask("explain.open", model="own-1")["models"] == ["mnist-lenet", "own-1"]
        drawn = tab.ask("draw.open", model="own-1")
        assert drawn["models"] == ["mnist-lenet", "own-1"]
        assert drawn["parameters"] == sum(row["parameters"] for row in opened["layers"])
        shown = tab.ask("draw.run", {"picture": torch.full((28, 28), 255, dtype=torch.uint8)})
        weights = [weight.double() for weight in flatten(model.params).values()]
        hidden = (shown["tensors"]["x"].double().flatten() @ weights[0].T + weights[1]).relu()
        expected = (hidden @ weights[2].T + weights[3]).softmax(0)
        assert shown["probabilities"] == pytest.approx(expected.tolist(), abs=1e-6)
    for kind in ("inspect.open", "explain.open", "draw.open"):
        for name in ("own-2", "..", "", "own-1/weights", str(file), "/etc/passwd"):
            answer = tab.ask(kind, model=name)
            assert answer["kind"] == "error"
            assert "no model" in answer["message"]
            assert "\n" not in answer["message"]


def test_a_run_that_is_not_a_classifier_is_not_offered_for_drawing(tmp_path: Path) -> None:
    (tmp_path / "own-1" / "weights").mkdir(parents=True)
    (tmp_path / "own-1" / "recipe.toml").touch()
    Model(mlp((64, 2)), loss="quadratic", input_shape=(64,), seed=0).save(tmp_path / "own-1/weights/last.safetensors")
    tab = Tab(Library(("mnist-lenet",), Model.load, Runs(tmp_path)))
    assert "own-1 is no classifier of pictures" in tab.ask("draw.open", model="own-1")["message"]


def test_a_run_given_as_the_model_is_listed_once(tmp_path: Path) -> None:
    run = tmp_path / "own-1"
    (run / "weights").mkdir(parents=True)
    (run / "recipe.toml").touch()
    Model(mlp((784, 10)), input_shape=(1, 28, 28)).save(run / "weights/best.safetensors")
    tab = Tab(Library((str(run),), Model.load, Runs(tmp_path)))
    assert tab.ask("inspect.open")["models"] == [str(run)]


def test_an_onnx_file_opens_in_each_view(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    path, model = tmp_path / "own.onnx", Model.load("mnist-lenet")
    to_onnx(model, path)
    tab = Tab(Library((str(path),), open_network))
    layers = tab.ask("inspect.open")["layers"]
    assert sum(row["parameters"] for row in layers) == 61_706
    first = next(row for row in layers if row["weight"])
    assert torch.equal(tab.ask("inspect.tiles", path=first["path"])["tensors"]["tiles"], weight_of(model)[:, 0])
    drawn = tab.draw()
    p = model.predict(drawn["tensors"]["x"][None].numpy())[0]
    assert drawn["read"] == 3
    assert drawn["probabilities"] == pytest.approx(p.tolist(), abs=1e-6)
    (tmp_path / "no.onnx").write_bytes(b"no graph")
    with pytest.raises(PellucidError, match=r"no\.onnx"):
        open_network(str(tmp_path / "no.onnx"))


@pytest.mark.slow
def test_large_feature_maps_are_verified_in_a_corner() -> None:
    tab = Tab(Library(("bccd",), Model.load))
    layers = tab.ask("inspect.open")["layers"]
    large = [row["path"] for row in layers[:12]]
    answers = [tab.ask("inspect.verify", path=path) for path in large]
    assert {answer["corner"] for answer in answers} == {None, 32}
    assert all(row["ok"] for answer in answers for row in answer["rows"])


def weight_of(model: Model) -> torch.Tensor:
    return flatten(model.params)["features.conv1.weight"].detach()


def test_weights_that_are_not_finite_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> Model:
        model = Model.load(name)
        flatten(model.params)["head.scores.weight"][0, :3] = torch.nan
        return model

    tab = Tab(Library(("mnist-lenet",), broken))
    tab.ask("inspect.open")
    message = tab.ask("inspect.histograms", path="head.scores")["message"]
    assert message.startswith("head.scores.weight: 3 of 840 values are NaN or infinite")
