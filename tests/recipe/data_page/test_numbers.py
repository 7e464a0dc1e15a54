"""The numbers of a page of data equal those that numpy, PIL and json compute from the raw arrays and files."""

import io
import json
from base64 import b64decode
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

import pellucid
from pellucid.combine import Sequential
from pellucid.data import Augment
from pellucid.data.augment import FeatureStats
from pellucid.layers import Dense, Flatten
from pellucid.model import Model
from pellucid.recipe.shown_data import page_of_recipe, planned_recipe
from pellucid.run.described import scaling_entries
from pellucid.task.traits import plain_target_traits

RNG = np.random.default_rng(0)


def save(path: Path, pixels: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def height_of(file: Path) -> int:
    with Image.open(file) as image:
        return image.height


def part(page: Any, name: str) -> Any:
    return page.to_json()["parts"][name]


def check_values(found: Any, x: Any) -> None:
    values = found["values"]
    expected = [x.min(), x.max(), x.mean(), x.std()]
    assert [values[key] for key in ("low", "high", "mean", "std")] == pytest.approx(expected, abs=1e-5)


def test_classes_and_values_of_arrays() -> None:
    x, y = RNG.random((90, 3, 8, 10), np.float32), RNG.integers(0, 3, 90)
    page = pellucid.data_page(x, y, validation=(x[:0:-3] * 0.5, y[:0:-3]))
    for name, (images, labels) in {"training": (x, y), "validation": (x[:0:-3] * 0.5, y[:0:-3])}.items():
        found = part(page, name)
        assert (found["examples"], found["read"], found["shapes"]) == (
            len(images),
            len(images),
            {"3x8x10": len(images)},
        )
        check_values(found, images.astype(np.float64))
        for label, count in Counter(labels.tolist()).items():
            assert found["traits"][f"share of class {label}"]["total"] == count
        means = images.mean((1, 2, 3))
        assert found["traits"]["brightness"]["mean"] == pytest.approx(float(means.mean()), abs=1e-6)


def test_values_are_those_after_standardization() -> None:
    x, y = RNG.integers(0, 256, (40, 3, 6, 6), np.uint8), RNG.integers(0, 2, 40)
    stats = FeatureStats.fit(torch.from_numpy(x))
    model = Model(Sequential(flat=Flatten(), out=Dense(2)), classes=["a", "b"], preprocess=scaling_entries(stats))
    page = pellucid.data_page(x, y, model=model)
    scaled = x / 255
    scaled = (scaled - scaled.mean((0, 2, 3), keepdims=True)) / scaled.std((0, 2, 3), keepdims=True)
    check_values(part(page, "training"), scaled)
    low, high = page.display
    assert scaled.min() - 1e-4 <= low < high <= scaled.max() + 1e-4
    assert "share of class 1 (b)" in part(page, "training")["traits"]


def test_class_folders_are_planned_and_counted_from_their_files(tmp_path: Path) -> None:
    sizes = {"train": (40, 30), "val": (64, 48)}
    for split, count in (("train", 12), ("val", 6)):
        for k in range(count):
            save(
                tmp_path / "d" / split / ("cat", "dog")[k % 2] / f"{k}.png",
                RNG.integers(0, 256, (*sizes[split], 3), np.uint8),
            )
    page = page_of_recipe(planned_recipe(str(tmp_path / "d")))
    files = {split: sorted((tmp_path / "d" / split).rglob("*.png")) for split in sizes}
    for name, split in (("training", "train"), ("test", "val")):
        found = part(page, name)
        assert found["examples"] == len(files[split])
        counts = Counter(file.parent.name for file in files[split])
        assert found["traits"]["share of class 0 (cat)"]["total"] == counts["cat"]
        heights = [height_of(file) for file in files[split]]
        assert found["traits"]["height of the image files"]["mean"] == np.mean(heights)


def test_boxes_of_coco_and_images_without_any(tmp_path: Path) -> None:
    for part_name, count in (("train", 8), ("val", 4)):
        images, annotations = [], []
        for k in range(count):
            save(tmp_path / "c" / part_name / f"{k}.png", RNG.integers(0, 256, (40, 60, 3), np.uint8))
            images.append({"id": k, "file_name": f"{k}.png", "width": 60, "height": 40})
            for _ in range(k % 3):
                box = [*RNG.integers(0, 20, 2).tolist(), *RNG.integers(5, 20, 2).tolist()]
                annotations.append({"id": len(annotations), "image_id": k, "category_id": 1 + k % 2, "bbox": box,
                                    "area": box[2] * box[3], "iscrowd": 0})  # fmt: skip
        categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
        text = json.dumps({"images": images, "annotations": annotations, "categories": categories})
        (tmp_path / "c" / part_name / "_annotations.coco.json").write_text(text)
    recipe = planned_recipe(str(tmp_path / "c"))
    assert recipe.name == "c-detect"
    page = page_of_recipe(recipe)
    for name, part_name in (("training", "train"), ("test", "val")):
        raw = json.loads((tmp_path / "c" / part_name / "_annotations.coco.json").read_text())
        traits = part(page, name)["traits"]
        by_class = Counter(one["category_id"] for one in raw["annotations"])
        assert traits["boxes of class 0 (cat) in an image"]["total"] == by_class[1]
        assert traits["boxes of class 1 (dog) in an image"]["total"] == by_class[2]
        annotated = {one["image_id"] for one in raw["annotations"]}
        assert traits["images without boxes"]["total"] == len(raw["images"]) - len(annotated)
        (found,) = [one for one in page.parts if one.name == name]
        height, width = found.examples[0].images.shape[2:]
        factor = height * width / (40 * 60)
        areas = [one["bbox"][2] * one["bbox"][3] for one in raw["annotations"]]
        assert sorted(found.object_sizes.tolist()) == pytest.approx(sorted(np.sqrt(np.array(areas) * factor)), rel=1e-4)


def test_masks_and_their_shares_of_classes(tmp_path: Path) -> None:
    masks: dict[str, list[Any]] = {"train": [], "val": []}
    for split, count in (("train", 6), ("val", 3)):
        for k in range(count):
            mask = RNG.integers(0, 3, (24, 32)).astype(np.uint8)
            mask[:4] = 255
            masks[split].append(mask)
            save(tmp_path / "m" / split / f"{k}.png", RNG.integers(0, 256, (24, 32, 3), np.uint8))
            save(tmp_path / "m" / f"{split}annot" / f"{k}.png", mask)
    page = page_of_recipe(planned_recipe(str(tmp_path / "m")))
    for name, split in (("training", "train"), ("test", "val")):
        traits = part(page, name)["traits"]
        for label in range(3):
            shares = [float((mask == label).sum() / (mask != 255).sum()) for mask in masks[split]]
            assert traits[f"share of class {label}"]["mean"] == pytest.approx(np.mean(shares), abs=1e-6)
        assert traits["masks of a single class"]["total"] == 0
    assert [name for name, _ in page.legend] == ["0", "1", "2"]


def test_key_points() -> None:
    x, points = RNG.random((20, 1, 16, 16), np.float32), RNG.random((20, 4, 3)).astype(np.float32) * 16
    points[..., 2] = RNG.integers(0, 3, (20, 4))
    points[3, :, 2] = 0
    traits = part(pellucid.data_page(x, points), "training")["traits"]
    assert traits["images without key-points"]["total"] == (points[..., 2] == 0).all(1).sum()
    assert traits["share of labels of key-point 2"]["total"] == (points[:, 2, 2] > 0).sum()
    visible = points[..., 2] > 0
    means = [one[seen, 0].mean() for one, seen in zip(points, visible, strict=True) if seen.any()]
    assert traits["x of the key-points"]["mean"] == pytest.approx(np.mean(means), rel=1e-5)


def test_pairs_of_images_are_drawn_side_by_side() -> None:
    x = RNG.random((12, 3, 20, 20), np.float32)
    y = 1 - x
    page = pellucid.data_page(x, y)
    assert page.to_json()["parts"]["training"]["traits"]["target images: brightness"]["mean"] == pytest.approx(
        float(y.mean((1, 2, 3)).mean()), abs=1e-6
    )
    caption, picture = page.pictures["training"][0]
    assert picture.width == 2 * picture.height
    assert "target of" in caption


def test_a_loader_is_read_up_to_the_bound() -> None:
    x, y = torch.rand(50, 1, 6, 6), torch.arange(50) % 2
    loader = DataLoader(TensorDataset(x, y), batch_size=8, shuffle=True)
    found = part(pellucid.data_page(loader, limit=20), "training")
    assert (found["examples"], found["read"]) == (56, 20)  # seven batches, assumed to be as large as the first
    whole = part(pellucid.data_page(loader), "training")
    assert whole["read"] == 50
    assert whole["traits"]["share of class 1"]["total"] == 25
    check_values(whole, x.double().numpy())


def test_a_stream_without_an_end_is_read_up_to_the_bound() -> None:
    x, y = torch.rand(8, 1, 6, 6), torch.arange(8) % 2

    def batches() -> Any:
        while True:
            yield x, y

    found = part(pellucid.data_page(batches, limit=24), "training")
    assert (found["examples"], found["read"]) == (None, 24)
    assert found["traits"]["share of class 1"]["total"] == 12


def test_pictures_show_what_the_network_receives() -> None:
    x = np.zeros((4, 1, 8, 8), np.float32)
    x[:, :, :, 4:] = 1
    plain = pellucid.data_page(x, np.arange(4))
    flipped = pellucid.data_page(x, np.arange(4), augment=lambda images, rng: images.flip(3))
    for page, left in ((plain, 0), (flipped, 255)):
        data = page.pictures["training"][0][1].source.partition(",")[2]
        with Image.open(io.BytesIO(b64decode(data))) as picture:
            assert np.asarray(picture)[0, 0].tolist() == [left] * 3


def test_other_parts_are_not_augmented() -> None:
    x = RNG.random((8, 1, 8, 8), np.float32)
    page = pellucid.data_page(x, np.arange(8), validation=(x, np.arange(8)), augment=Augment(brightness=0.5))
    train, validation = page.parts
    assert torch.equal(validation.shown.images, torch.from_numpy(x[torch.linspace(0, 7, 6).round().int()]))
    assert not torch.equal(train.shown.images, validation.shown.images)


def test_images_that_cannot_be_read_are_left_out_with_their_reason(tmp_path: Path) -> None:
    for k in range(8):
        save(tmp_path / "d" / "ab"[k % 2] / f"{k}.png", RNG.integers(0, 256, (16, 16, 3), np.uint8))
    (tmp_path / "d" / "a" / "broken.png").write_bytes(b"no image")
    page = page_of_recipe(planned_recipe(str(tmp_path / "d"), "classify"))
    reasons = [reason for one in page.parts for reason in one.left_out]
    assert len(reasons) == 1
    assert "broken.png" in reasons[0]


def test_several_labels_of_an_example() -> None:
    x, y = RNG.random((30, 1, 8, 8), np.float32), RNG.integers(0, 2, (30, 3)).astype(np.float32)
    y[0] = 0
    net = Sequential(flat=Flatten(), out=Dense(3))
    page = pellucid.data_page(x, y, model=Model(net, "binary_cross_entropy", classes=["a", "b", "c"], metrics=()))
    traits = part(page, "training")["traits"]
    assert [traits[f"share of class {k} ({name})"]["total"] for k, name in enumerate("abc")] == y.sum(0).tolist()
    assert traits["examples without a class"]["total"] == (y.sum(1) == 0).sum()


def test_masks_of_several_sizes() -> None:
    masks = [torch.from_numpy(RNG.integers(0, 3, size)) for size in ((4, 6), (7, 5), (3, 3))]
    traits = plain_target_traits(masks, None)
    shares = [float((mask == 1).double().mean()) for mask in masks]
    assert traits["share of class 1"].values.tolist() == pytest.approx(shares)
