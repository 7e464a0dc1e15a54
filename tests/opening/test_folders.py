"""Hugging Face folders: outputs against transformers' own, preprocessing, classes, and files that are refused."""

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

import pellucid
from pellucid.base.errors import PellucidError
from pellucid.opening import configured
from pellucid.opening.configured import import_library

pytestmark = [
    pytest.mark.usefixtures("no_connection"),
    pytest.mark.skipif(
        find_spec("transformers") is None, reason="transformers is not installed: pip install -e .[open]"
    ),
]
MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]
PREPROCESSOR_CONFIG = {
    "do_normalize": True, "do_rescale": True, "rescale_factor": 1 / 255, "image_mean": MEAN, "image_std": STD,
    "size": {"height": 32, "width": 32},
}  # fmt: skip
BASE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "image_size": 32,
        "patch_size": 8}  # fmt: skip


@pytest.fixture(scope="module")
def transformers() -> Any:
    return import_library("transformers")


def images(count: int) -> Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(count))


def standardized(x: Tensor) -> Tensor:
    mean, std = (torch.tensor(one)[:, None, None] for one in (MEAN, STD))
    return (x - mean) / std


def save_folder(network: Any, folder: Path, preparation: dict[str, Any] | None = None, **changes: Any) -> Any:
    """Write the folder of a network, with changes to its configuration, and return the network in evaluation mode."""
    network.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    preprocessor_config = PREPROCESSOR_CONFIG if preparation is None else preparation
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor_config))
    return network.eval()


def vit(transformers: Any, **options: Any) -> Any:
    labels = {0: "crane", 1: "owl\x1b[2J", 2: "crane"}
    torch.manual_seed(0)
    return transformers.ViTForImageClassification(transformers.ViTConfig(**BASE, id2label=labels, **options))


@pytest.mark.slow
def test_a_classifier_has_weights_preprocessing_and_classes(transformers: Any, tmp_path: Path) -> None:
    network, x = save_folder(vit(transformers), tmp_path), images(3)
    model = pellucid.open(tmp_path)
    assert model.input_shape == (3, 32, 32)
    assert model.classes == ("crane (0)", "owl\x1b[2J", "crane (2)")
    torch.testing.assert_close(model(x), network(standardized(x)).logits.detach(), rtol=1e-4, atol=1e-6)
    assert "\x1b" not in str(model.summary())
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.zero_()
    network.load_state_dict(model.state_dict())
    torch.testing.assert_close(model(x), network(standardized(x)).logits.detach(), rtol=1e-4, atol=1e-6)


def test_a_convolutional_network_takes_images_of_any_size(transformers: Any, tmp_path: Path) -> None:
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=4
    )
    size = {"size": {"shortest_edge": 256}, "crop_size": {"height": 96, "width": 64}}
    network = save_folder(transformers.ResNetForImageClassification(config), tmp_path, {**PREPROCESSOR_CONFIG, **size})
    model = pellucid.open(tmp_path)
    assert model.input_shape == (3, None, None)
    assert model.preprocess["size"] == [96, 64]
    x = images(2)
    torch.testing.assert_close(model(x), network(standardized(x)).logits.detach(), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_semantic_segmentation_has_a_map_for_each_class(
    transformers: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = transformers.SegformerConfig(
        hidden_sizes=[8, 8, 8, 8], decoder_hidden_size=8, depths=[1, 1, 1, 1], num_attention_heads=[1, 1, 1, 1],
        id2label={0: "road", 1: "sky"}, image_size=64,
    )  # fmt: skip
    network = save_folder(transformers.SegformerForSemanticSegmentation(config), tmp_path)
    model = pellucid.open(tmp_path)
    x = images(2)
    assert model.classes == ("road", "sky")
    assert model.preprocess["size"] == [32, 32]
    assert "resizes images to 32x32, but config.json has an image_size of 64x64" in capsys.readouterr().err
    torch.testing.assert_close(model(x), network(standardized(x)).logits.detach(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "mean", "std"),
    [
        ({}, MEAN, STD),
        ({"rescale_factor": 2 / 255}, [0.25, 0.2, 0.15], [0.1, 0.15, 0.2]),  # (2 x - mean) / std
        ({"do_rescale": False}, [one / 255 for one in MEAN], [one / 255 for one in STD]),  # (255 x - mean) / std
        ({"do_normalize": False}, [0.0] * 3, [1.0] * 3),
        ({"image_mean": [0.5], "image_std": [0.25]}, [0.5] * 3, [0.25] * 3),
    ],
)
def test_the_preprocessing_is_for_images_of_0_to_1(
    transformers: Any, settings: dict[str, Any], mean: list[float], std: list[float], tmp_path: Path
) -> None:
    save_folder(vit(transformers), tmp_path, {**PREPROCESSOR_CONFIG, **settings})
    preprocess = pellucid.open(tmp_path).preprocess
    assert preprocess["mean"] == pytest.approx(mean, rel=1e-12)
    assert preprocess["std"] == pytest.approx(std, rel=1e-12)


def test_a_folder_without_preprocessing_is_noted(
    transformers: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_folder(vit(transformers), tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    assert pellucid.open(tmp_path).preprocess == {}
    assert "has no preprocessor_config.json, so that images of 0 to 1 are not standardized" in capsys.readouterr().err


@pytest.mark.heavy
@pytest.mark.slow
def test_images_above_the_size_limits_are_refused(transformers: Any, tmp_path: Path) -> None:
    config = transformers.ResNetConfig(embedding_size=160, hidden_sizes=[8], depths=[1], layer_type="basic")
    network = transformers.ResNetForImageClassification(config)
    save_folder(network, tmp_path, {**PREPROCESSOR_CONFIG, "size": {"height": 10**6, "width": 10**6}})
    with pytest.raises(PellucidError, match="images of 1000000x1000000 pixels are too large"):
        pellucid.open(tmp_path)
    save_folder(network, tmp_path, {**PREPROCESSOR_CONFIG, "size": {"height": 2048, "width": 2048}})
    with pytest.raises(PellucidError, match="PELLUCID_LIMITS"):  # 160 maps of 1024x1024 take 671 MB
        pellucid.open(tmp_path)


def test_half_precision_weights_become_float32(transformers: Any, tmp_path: Path) -> None:
    network, x = save_folder(vit(transformers).half(), tmp_path).float(), images(2)
    model = pellucid.open(tmp_path)
    torch.testing.assert_close(model(x), network(standardized(x)).logits.detach(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"auto_map": {"AutoModel": "modeling.Code"}}, "auto_map names code of its own, which is not run"),
        ({"vision_config": {"auto_map": {"AutoModel": "modeling.Code"}}}, "auto_map names code of its own"),
        ({"quantization_config": {"quant_method": "bnb"}}, "quantization_config has quantized weights"),
        ({"model_type": "vitt"}, r"transformers [\d.]+ has no model_type 'vitt'; did you mean 'vit'"),
        ({"architectures": ["os"]}, r"architectures \['os'\] have no network for images"),
        ({"architectures": 3}, "architectures 3 have no network for images"),
        ({"model_type": "bert", "architectures": ["BertForMaskedLM"]}, "have no network for images"),
        ({"hidden_size": 100_000}, "but the network of config.json has [0-9,]+ parameters"),
        ({"intermediate_size": 8}, r"does not fit the network: vit\.layers\.0\.mlp\.fc1\.bias is \(32,\), not \(8,\)"),
        ({"num_hidden_layers": 1}, None),
        ({"num_hidden_layers": 10**6}, "the network has more than 500 modules"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1,000,000,000, above 1,000,000"),
        ({"vision_config": {"depths": [1, 10**10]}}, "depths is 10,000,000,000, above 1,000,000"),
        ({"image_size": "large"}, "transformers cannot build"),
        ({"id2label": {"1": "ant", "2": "bee", "3": "cat"}}, "id2label must be a list of names"),
        ({"id2label": {"0": "ant", "1": 3, "2": "cat"}}, "id2label must be a list of names"),
    ],
)
def test_configurations_that_name_code_or_are_invalid_are_refused(
    transformers: Any,
    changes: dict[str, Any],
    message: str | None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(configured, "MAX_FOLDER_MODULES", 500)  # building 50,000 takes seconds
    save_folder(vit(transformers), tmp_path, **changes)
    if message is None:
        pellucid.open(tmp_path)
        assert "are not in the network, first vit." in capsys.readouterr().err
        return
    with pytest.raises(PellucidError, match=message) as caught:
        pellucid.open(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("entry", ["attn_implementation", "_attn_implementation"])
def test_attention_code_named_in_a_file_is_not_used(transformers: Any, entry: str, tmp_path: Path) -> None:
    network, x = save_folder(vit(transformers), tmp_path, **{entry: "somebody/kernel"}), images(2)
    torch.testing.assert_close(
        pellucid.open(tmp_path)(x), network(standardized(x)).logits.detach(), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("config.json", None, r"config\.json is missing; give a folder with config\.json and model\.safetensors"),
        ("config.json", b"{", "config.json is a damaged JSON file"),
        ("config.json", b"[" * 100_000, "config.json is a damaged JSON file"),
        ("config.json", b"[]", "config.json is not a JSON object"),
        ("model.safetensors", None, r"has no model\.safetensors; save the network again"),
        ("model.safetensors", b"\x80\x02}q\x00.", "model.safetensors has a header of"),
        (
            "preprocessor_config.json",
            b'{"do_normalize": true}',
            "preprocessor_config.json is a damaged configuration of the preprocessing",
        ),
        (
            "preprocessor_config.json",
            b'{"rescale_factor": "x"}',
            "preprocessor_config.json is a damaged configuration of the preprocessing",
        ),
        ("preprocessor_config.json", b'{"image_mean": [0.5], "image_std": [0]}', "std above 0"),
    ],
)
def test_missing_and_damaged_files_are_refused(
    transformers: Any, name: str, data: bytes | None, message: str, tmp_path: Path
) -> None:
    save_folder(vit(transformers), tmp_path)
    (tmp_path / name).unlink() if data is None else (tmp_path / name).write_bytes(data)
    with pytest.raises(PellucidError, match=message) as caught:
        pellucid.open(tmp_path)
    assert "\n" not in str(caught.value)


def test_weights_in_a_pickle_are_refused(transformers: Any, tmp_path: Path) -> None:
    network = save_folder(vit(transformers), tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(network.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(PellucidError, match=r"no model\.safetensors \(it has pytorch_model\.bin, which is not read"):
        pellucid.open(tmp_path)


def test_a_missing_tensor_is_named(transformers: Any, tmp_path: Path) -> None:
    save_folder(vit(transformers), tmp_path)
    tensors = safetensors.torch.load_file(tmp_path / "model.safetensors")
    tensors["other"] = tensors.pop("classifier.weight")
    safetensors.torch.save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(PellucidError, match=r"does not fit the network: classifier\.weight is missing"):
        pellucid.open(tmp_path)


def test_a_missing_package_is_named(transformers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_folder(vit(transformers), tmp_path)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(PellucidError, match=r"networks of transformers need transformers: pip install 'pellucid\[op"):
        pellucid.open(tmp_path)
