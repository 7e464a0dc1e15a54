"""The licences of the data of shipped weights: in files, on cards, in pretrained/LICENCES.md and at first use."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from benchmarks import distil, licences, photos
from benchmarks.pretrained import write_model
from pellucid import shipped_files
from pellucid.base.text import note_first_time
from pellucid.cli.main import main
from pellucid.data import trained_on
from pellucid.data.entries import CATALOGUE
from pellucid.data.trained_on import TRAINED_ON
from pellucid.model import Model
from pellucid.recipe.start import source_file
from pellucid.run import folder
from pellucid.run.weights import read_weights, write_weights
from pellucid.weights.catalogue import CATALOGUE as PUBLISHED

NAMES = shipped_files.pretrained_names()
FREE = {"mnist-conv", "mnist-lenet", "mnist-mlp-100"}
CIFAR_NOTE = (
    "pellucid: cifar was trained on cifar10 (no licence found): for teaching and research; commercial use is unclear, "
    "so ask the authors of the data first; `pellucid weights show cifar` says more\n"
)


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write the notes of a new process."""
    monkeypatch.setattr(folder, "note_limited_use", trained_on.note_limited_use)
    note_first_time.cache_clear()


def card_text(name: str) -> str:
    return shipped_files.pretrained_file(name).with_suffix(".md").read_text(encoding="utf-8")


def data_of_start(name: str) -> set[str]:
    """Return the data of the weights that start.weights names."""
    if not name:
        return set()
    if name in PUBLISHED:
        assert ", ImageNet" in PUBLISHED[name].title
        return {"imagenet"}
    return data_of_training(name)


def data_of_training(name: str) -> set[str]:
    """Return the data sets of a training, from the recipe on the card or the program that trained the weights."""
    if name == "backbone":
        return {*distil.IMAGE_SETS, *data_of_start(distil.TEACHER)}
    recipe_text = re.search(r"## Recipe\n\n```toml\n(.*?)\n```", card_text(name), re.DOTALL)
    assert recipe_text is not None
    recipe = tomllib.loads(recipe_text[1])
    data = recipe["data"]["name"]
    own_data = {"cifar10", *(data for data, *_ in photos.CROPPED_SETS["train"])} if data == "photos" else {data}
    return own_data | data_of_start(recipe.get("start", {}).get("weights", ""))


def test_the_data_of_all_shipped_weights_are_listed() -> None:
    assert set(TRAINED_ON) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_listed_data_are_those_of_the_training_and_of_the_weights_it_started_from(name: str) -> None:
    assert set(TRAINED_ON[name]) == data_of_training(name)


@pytest.mark.parametrize("name", NAMES)
def test_only_the_weights_of_mnist_are_free(name: str) -> None:
    assert trained_on.is_free(name) == (name in FREE)
    assert trained_on.permitted_use(name).startswith(
        "for teaching, research and commercial use" if name in FREE else "for teaching and research; "
    )


@pytest.mark.parametrize("data", CATALOGUE)
def test_each_data_set_has_a_licence_with_a_source(data: str) -> None:
    entry = CATALOGUE[data]
    assert entry.about == f"{entry.contents}; {entry.licence.name}"
    assert entry.licence.source.startswith(("http://", "https://"))
    assert entry.licence.statement.endswith(".")


@pytest.mark.parametrize("name", NAMES)
def test_a_card_has_the_row_and_the_size_that_its_writer_writes(name: str) -> None:
    card, size = card_text(name), shipped_files.pretrained_file(name).stat().st_size
    assert card.count(f"\n{licences.licence_row(name)}\n") == 1
    assert f"| file | {size:,} bytes" in card
    assert licences.rewrite_card(name, card, size) == card


def test_only_the_licence_and_the_size_of_a_card_are_rewritten() -> None:
    old_rows = "| file | 1,234 bytes in float16, weights SHA-256 abc |\n| licence | Apache-2.0 for the weights |\n"
    rewritten = licences.rewrite_card("cifar", f"# cifar\n\n{old_rows}\n| cifar10 | 100% |\n", 5_678)
    assert rewritten == (
        "# cifar\n\n| file | 5,678 bytes in float16, weights SHA-256 abc |\n"
        "| licence | Apache-2.0 for the weights; trained on cifar10 (no licence found): for teaching and research; "
        "commercial use is unclear, so ask the authors of the data first; see [LICENCES.md](LICENCES.md) |\n"
        "\n| cifar10 | 100% |\n"
    )


def test_a_card_without_a_licence_is_not_rewritten() -> None:
    with pytest.raises(SystemExit, match="the card of cifar has 0 rows on its licence and 1 on its file"):
        licences.rewrite_card("cifar", "| file | 1,234 bytes |\n", 5_678)


def test_the_page_of_licences_is_up_to_date() -> None:
    page = licences.PAGE.read_text(encoding="utf-8")
    assert page == licences.licences_page()
    for name in NAMES:
        assert f"| [{name}]({name}.md) | {'yes' if name in FREE else 'no'} |" in page
    for data in {data for names in TRAINED_ON.values() for data in names}:
        assert f"\n| {data} |" in page


@pytest.mark.parametrize("name", NAMES)
def test_a_weights_file_describes_the_licences(name: str) -> None:
    _, about = read_weights(shipped_files.pretrained_file(name))
    assert about["licence"] == trained_on.licence_json(name)


def test_the_description_names_each_licence_and_the_use() -> None:
    assert trained_on.licence_json("signs") == {
        "weights": "Apache-2.0",
        "data": {"signs": "Apache-2.0", "cifar10": "no licence found"},
        "free": False,
        "use": "for teaching and research; commercial use is unclear, so ask the authors of the data first",
    }


def test_new_weights_files_describe_the_licences(tmp_path: Path) -> None:
    write_model(tmp_path / "mnist-mlp-100.safetensors", Model.load("mnist-mlp-100"), {})
    _, about = read_weights(tmp_path / "mnist-mlp-100.safetensors")
    assert about["licence"] == trained_on.licence_json("mnist-mlp-100")


def test_a_file_of_an_earlier_release_without_licences_can_be_loaded(tmp_path: Path) -> None:
    tensors, about = read_weights(shipped_files.pretrained_file("mnist-mlp-100"))
    del about["licence"]
    write_weights(tmp_path / "old.safetensors", tensors, about)
    assert Model.load(tmp_path / "old.safetensors").sha256() == Model.load("mnist-mlp-100").sha256()


@pytest.mark.usefixtures("notes")
def test_the_first_use_of_weights_with_limits_writes_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    Model.load("cifar")
    Model.load("cifar")
    assert capsys.readouterr() == ("", CIFAR_NOTE)
    Model.load("signs")
    assert capsys.readouterr().err.startswith("pellucid: signs was trained on signs (Apache-2.0), cifar10 (no licence")


@pytest.mark.usefixtures("notes")
def test_free_weights_and_own_weights_have_no_note(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    Model.load("mnist-lenet").save(tmp_path / "cifar.safetensors")
    Model.load(tmp_path / "cifar.safetensors")
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("notes")
def test_the_note_is_not_in_json_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    picture = str(Path(__file__).parents[1] / "docs" / "street.jpg")
    for expected_notes in (1, 0):  # the second command is not the first use
        assert main(["predict", "cifar", picture, "--json"]) == 0
        out, err = capsys.readouterr()
        assert json.loads(out)["model"] == "cifar"
        assert "trained on" not in out
        assert err.count(CIFAR_NOTE) == expected_notes


@pytest.mark.usefixtures("notes")
def test_a_training_that_starts_from_weights_with_limits_uses_them(capsys: pytest.CaptureFixture[str]) -> None:
    source_file("cifar")
    assert capsys.readouterr() == ("", CIFAR_NOTE)
