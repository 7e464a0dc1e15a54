"""`pellucid explain` on the shipped models."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pellucid.explain import METHODS
from tests.cli.conftest import Cli

APPLICABLE_METHODS = [method for method in METHODS if method != "rollout"]  # applicable to networks without attention


@pytest.mark.heavy
@pytest.mark.slow
def test_all_methods_write_a_picture_and_its_values(cli: Cli, seven: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    result = cli("explain", "mnist-lenet", str(seven), "--method", "all", "--out", str(out))
    assert result.code == 0, result.err
    assert ": 7 (predicted)" in result.out
    names = {path.name for path in out.iterdir()}
    pictures = {
        f"{name}.{kind}" for name in (*APPLICABLE_METHODS, "all", "occlusion-classes") for kind in ("png", "npz")
    }
    assert names == pictures | {"index.html"}
    assert "no better than random order on this image" in result.out
    assert "no better than random order on this image" in (out / "index.html").read_text(encoding="utf-8")
    for method in APPLICABLE_METHODS:
        with np.load(out / f"{method}.npz") as arrays, Image.open(out / f"{method}.png") as picture:
            assert arrays["map"].shape == (1, 28, 28)
            assert np.isfinite(arrays["map"]).all()
            assert str(arrays["target"]) == "7"
            assert min(picture.size) > 200
        assert method in result.out
    with np.load(out / "occlusion-classes.npz") as arrays:
        assert set(arrays["predicted"].flatten().tolist()) <= set(range(10))
        assert 0 <= arrays["probability"].min() <= arrays["probability"].max() <= 1


@pytest.mark.heavy
@pytest.mark.slow
def test_json_contains_the_checks(cli: Cli, seven: Path, tmp_path: Path) -> None:
    output = cli("explain", "mnist-lenet", str(seven), "--method", "all", "--json").json
    assert list(output["methods"]) == APPLICABLE_METHODS
    assert list(output["skipped"]) == ["rollout"]
    integrated = output["methods"]["integrated_gradients"]
    assert integrated["gap"] < 0.05
    assert integrated["gap"] == pytest.approx(abs(integrated["sum"] / integrated["wanted"] - 1))
    assert integrated["deletion"] < output["random"]["deletion"], "it names what counts sooner than chance"
    assert integrated["insertion"] > output["random"]["insertion"]
    verdicts = {name: verdict["verdict"] for name, verdict in integrated["verdicts"].items()}
    assert verdicts["sum"] == "adds up within 5 %"
    assert verdicts["deletion"] == verdicts["insertion"] == "better than random order on this image"
    assert integrated["verdicts"]["deletion"]["p"] == 1 / 20
    assert "sum" not in output["methods"]["saliency"]["verdicts"]
    relevant = output["methods"]["lrp"]
    assert relevant["sum"] + sum(relevant["absorbed"].values()) == pytest.approx(output["score"], rel=1e-5)
    assert output["methods"]["saliency"]["absorbed"] == {}
    assert all(output["distances"][name][name] == 0 for name in APPLICABLE_METHODS)
    assert all(distance >= 0 for row in output["distances"].values() for distance in row.values())
    assert output["distances"]["lrp"]["gradcam"] == output["distances"]["gradcam"]["lrp"]
    assert output["methods"]["saliency"]["wanted"] is None
    assert all(Path(file).is_file() for file in output["files"])
    assert Path(output["files"][0]).parent == Path(f"explanations/mnist-lenet-{seven.parent.name}-seven")


@pytest.fixture
def few_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare curves with only two random orders, since the default number takes most of the run time."""
    monkeypatch.setattr("pellucid.explain.examine.ORDERS", 2)


@pytest.mark.slow
@pytest.mark.usefixtures("few_orders")
def test_pictures_of_equal_names_are_written_to_different_folders(cli: Cli, seven: Path, tmp_path: Path) -> None:
    """Equal file names in different folders, and two targets of one picture, do not overwrite each other's values."""
    files = [Path(name) for name in ("digits/7/0.png", "digits/1/0.png", "test/7/0.png", "0.png")]
    for k, file in enumerate(files):
        file.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(seven) as picture:
            picture.rotate(3 * k, fillcolor=255).save(file)

    def folder(file: Path, *words: str) -> Path:
        output = cli("explain", "mnist-lenet", str(file), "--method", "saliency", *words, "--json").json
        return Path(output["files"][0]).parent

    root = Path("explanations")
    assert [folder(file) for file in files] == [
        root / "mnist-lenet-7-0", root / "mnist-lenet-1-0", root / "mnist-lenet-7-0-2", root / "mnist-lenet-0"
    ]  # fmt: skip
    assert folder(files[0]) == root / "mnist-lenet-7-0", "what is explained again is written anew"
    assert folder(files[0], "--method", "gradcam") == root / "mnist-lenet-7-0"
    assert folder(files[0], "--target", "3") == root / "mnist-lenet-7-0-3"
    for name, target in (("mnist-lenet-7-0", "7"), ("mnist-lenet-7-0-3", "3")):
        with np.load(root / name / "saliency.npz") as arrays:
            assert str(arrays["target"]) == target
    (root / "mnist-lenet-0" / "saliency.npz").write_bytes(b"no numbers")
    assert folder(files[3]) == root / "mnist-lenet-0-2"


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.usefixtures("few_orders")
def test_target_is_a_class_or_a_map(cli: Cli, seven: Path) -> None:
    class_output = cli("explain", "mnist-lenet", str(seven), "--method", "lrp", "--target", "3", "--json").json
    assert class_output["target"] == "3"
    unit_output = cli("explain", "mnist-lenet", str(seven), "--target", "features.conv2[3]", "--json").json
    assert unit_output["target"] == "features.conv2[3]"
    assert "deconvnet" in unit_output["methods"]
    assert set(unit_output["methods"]) | set(unit_output["skipped"]) == set(METHODS)


MESSAGES = {
    ("--method", "salience"): "did you mean 'saliency'",
    ("--target", "eleven"): "no class 'eleven'",
    ("--target", "features.conv9[1]"): "did you mean 'conv",
    ("--target", "features.conv2[99]"): "no index [99]",
    ("--out", "{file}"): "cannot be created",
    ("--out", ""): "--out is empty",
    ("--target", "12"): "its classes are 0, 1, 2",
}


@pytest.mark.parametrize("words", MESSAGES)
def test_invalid_arguments_are_refused(cli: Cli, seven: Path, words: tuple[str, ...]) -> None:
    arguments = [word.format(file=seven) for word in words]
    method = () if "--method" in words else ("--method", "saliency")
    assert MESSAGES[words] in cli("explain", "mnist-lenet", str(seven), *method, *arguments).error_line


def test_a_picture_is_refused_with_the_page_of_a_network(cli: Cli, seven: Path) -> None:
    assert "without IMAGE" in cli("explain", "mnist-lenet", str(seven), "--page", "page").error_line
    assert "give an IMAGE" in cli("explain", "mnist-lenet").error_line
    assert "give an IMAGE" in cli("explain", "mnist-lenet", str(seven), "--data", "mnist").error_line


@pytest.mark.heavy
@pytest.mark.slow
def test_the_page_of_a_shipped_network_on_a_folder_of_pictures(cli: Cli, seven: Path, tmp_path: Path) -> None:
    folder = tmp_path / "digits" / "7"
    folder.mkdir(parents=True)
    for k in range(3):
        with Image.open(seven) as picture:
            picture.rotate(4 * k, fillcolor=255).save(folder / f"{k}.png")
    output = cli("explain", "mnist-lenet", "--page", "page", "--data", str(tmp_path / "digits"), "--json").json
    assert Path(output["page"]) == Path("page/index.html")
    assert "relu2" in Path(output["page"]).read_text("utf-8")
    assert [layer["field"] for layer in output["layers"]] == [[5, 5], [14, 14]]
    assert output["n"] == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--retrain", "0"), "give an IMAGE to explain, without --data and --retrain"),
        (("--page", "page", "--retrain", "0"), "--retrain: train for at least one epoch, not 0"),
    ],
)
def test_zero_epochs_of_retraining_are_refused(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = cli("explain", "mnist-lenet", *words)
    assert result.code == 2
    assert message in result.err


@pytest.mark.slow
@pytest.mark.usefixtures("few_orders")
def test_the_output_names_the_source_of_the_explained_class(cli: Cli, seven: Path, tmp_path: Path) -> None:
    """The predicted class is explained; if the folder names a class, the output says whether both are equal."""
    for name, words in (("7", "predicted, as its folder says"), ("1", "predicted; its folder says 1")):
        file = tmp_path / name / "a.png"
        file.parent.mkdir()
        file.write_bytes(seven.read_bytes())
        words_before = ("explain", "mnist-lenet", str(file), "--method", "saliency")
        assert f": 7 ({words}), score" in cli(*words_before).out
        assert cli(*words_before, "--json").json["chosen"] == words
    target_output = cli(*words_before, "--target", "1", "--json").json
    assert (target_output["target"], target_output["chosen"]) == ("1", None)
