"""What is shipped is small, whole, and as good as its card says."""

import re
from pathlib import Path

import pytest

import pellucid
from pellucid import assets
from pellucid.data import data_root
from pellucid.tasks.classify import evaluate
from pellucid.train.model import Model

NAMES = assets.pretrained_names()
DATA = {"mnist": "mnist/t10k-images-idx3-ubyte.gz", "cifar10": "cifar10/cifar10.zip", "signs": "signs/val"}


def card(name: str) -> str:
    return assets.pretrained_file(name).with_suffix(".md").read_text(encoding="utf-8")


def test_the_models_are_there() -> None:
    assert NAMES == ("cifar", "mnist-conv", "mnist-lenet", "mnist-mlp-100", "signs")


def test_the_files_are_small() -> None:
    sizes = [assets.pretrained_file(name).stat().st_size for name in NAMES]
    assert max(sizes) <= 5_000_000
    assert sum(sizes) <= 40_000_000


@pytest.mark.parametrize("name", NAMES)
def test_each_is_the_file_its_card_is_about(name: str) -> None:
    assert Model.load(assets.pretrained_file(name)).sha256() in card(name)


@pytest.mark.real
@pytest.mark.parametrize("name", NAMES)
def test_each_is_as_good_as_its_card_says(name: str) -> None:
    model = Model.load(assets.pretrained_file(name))
    need(str(model.preprocess["data"]))
    found = re.search(r"test accuracy \| ([\d.]+)% on ([\d,]+) images", card(name))
    assert found is not None
    n = int(found[2].replace(",", ""))
    measured = evaluate(model)
    assert measured["n"] == n
    # Other processors round otherwise, which may turn an image or two.
    assert measured["accuracy"] == pytest.approx(float(found[1]) / 100, abs=max(3e-4, 1.5 / n))


@pytest.mark.real
def test_one_epoch_of_mnist_mlp_learns_most_digits(tmp_path: Path) -> None:
    need("mnist")
    run = pellucid.train("mnist-mlp", out=tmp_path, progress=False, **{"train.epochs": 1})
    assert run.metrics["n"] == 10_000
    assert run.metrics["accuracy"] > 0.9  # Nielsen 2015, chapter 1, reports 9,129 of 10,000 after the first epoch


def need(data: str) -> None:
    """Skip where a data set is absent."""
    if not (data_root() / DATA[data]).exists():
        pytest.skip(f"{data_root() / DATA[data]} is absent; `pellucid data get {data}` fetches or explains it")
