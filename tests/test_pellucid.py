"""The public names of the package."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import pellucid

NAMES_FILE = Path(__file__).resolve().parents[1] / "docs/public-names.txt"


@pytest.mark.parametrize("name", pellucid.__all__)
def test_every_public_name_exists(name: str):
    assert getattr(pellucid, name) is not None


def test_only_common_names_are_shared_by_two_modules():
    assert pellucid.L1.__module__ == "pellucid.losses.regression"
    assert pellucid.Checkpoint.__module__ == "pellucid.training.callbacks"


def test_every_layer_loss_and_optimizer_is_public():
    from pellucid.layers import LAYERS
    from pellucid.losses import LOSSES
    from pellucid.optim import OPTIMIZERS

    names = {kind.__name__ for kind in (*LAYERS, *LOSSES.values(), *OPTIMIZERS.values())}
    assert sorted(names - {*pellucid.__all__}) == [], "add their lines to pellucid/__init__.pyi"
    assert all(getattr(pellucid, name).__name__ == name for name in names)


def test_every_name_of_the_layers_is_public():
    from pellucid import layers

    assert set(layers.__all__) <= set(pellucid.__all__)
    assert len(set(pellucid.__all__)) == len(pellucid.__all__)
    assert all(getattr(pellucid, name) is getattr(layers, name) for name in layers.__all__)


def test_dir_lists_public_names_only():
    public = {*NAMES_FILE.read_text(encoding="utf-8").split()}
    names = dir(pellucid)
    assert "__version__" in names
    assert {f"pellucid.{name}" for name in names if name != "__version__"} == {
        name for name in public if name.count(".") == 1
    }


def test_star_import_keeps_the_builtin_open():
    namespace: dict[str, object] = {}
    exec("from pellucid import *", namespace)
    assert "Dense" in namespace
    assert "open" not in namespace


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'Modell'"):
        _ = pellucid.Modell  # type: ignore[attr-defined]


FOREIGN_NAMES = {
    "Linear": "Dense", "Conv2D": "Conv2d", "Relu": "ReLU", "MaxPooling2D": "MaxPool2d",
    "BatchNormalization": "BatchNorm", "BatchNorm2d": "BatchNorm", "CrossEntropyLoss": "SoftmaxCrossEntropy",
    "NLLLoss": "NegativeLogLikelihood", "MSELoss": "Quadratic", "ModelCheckpoint": "Checkpoint",
}  # fmt: skip


@pytest.mark.parametrize(("foreign_name", "name"), FOREIGN_NAMES.items())
def test_errors_for_names_of_keras_and_pytorch_suggest_ours(foreign_name: str, name: str):
    with pytest.raises(
        ImportError, match=f"cannot import name '{foreign_name}' from 'pellucid'; did you mean '{name}'"
    ):
        exec(f"from pellucid import {foreign_name}")
    with pytest.raises(AttributeError, match=f"has no attribute '{foreign_name}'; did you mean '{name}'"):
        getattr(pellucid, foreign_name)
    assert not hasattr(pellucid, foreign_name)


@pytest.mark.heavy
@pytest.mark.slow
def test_submodules_can_still_be_imported_from_the_package():
    code = "from pellucid import layers, nested; from pellucid import *; print(layers.__name__, nested.__name__)"
    root = Path(__file__).resolve().parents[1]
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert process.stdout == "pellucid.layers pellucid.nested\n"


def test_importing_the_package_imports_no_large_module():
    code = "import pellucid, sys; dir(pellucid); print(sys.modules.keys() & {'torch', 'numpy', 'matplotlib'})"
    root = Path(__file__).resolve().parents[1]
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert process.stdout == "set()\n"


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_train_can_be_called_whichever_import_came_first(tmp_path: Path):
    import pellucid.training  # a package with a similar name
    from pellucid import train

    assert train is pellucid.train
    run = pellucid.train("digits", out=tmp_path, progress=False, **{"train.epochs": 1})
    assert run.path == tmp_path / "digits-1"
    assert run.model.evaluate(torch.rand(3, 1, 8, 8), torch.tensor([1, 2, 3]))["n"] == 3
