"""Sample pictures: reproducible, small, readable by the loaders, and recognized by the shipped models."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid import shipped_files
from pellucid.base.errors import PellucidError
from pellucid.data import DetectionFolder, MaskFolder, load_folder
from pellucid.data.samples import Sample, write_samples
from pellucid.data.samples.cells import CLASSES as CELLS
from pellucid.data.samples.cells import blood_smear
from pellucid.data.samples.files import PART_SIZES, PICTURES_PER_CLASS, SHAPES
from pellucid.data.samples.mice import POINTS as MOUSE_POINTS
from pellucid.data.samples.mice import mice
from pellucid.data.samples.portraits import face, hand
from pellucid.data.samples.scenes import CLASSES as STREET
from pellucid.data.samples.scenes import people, street
from pellucid.model import Model
from pellucid.ops.boxes import box_iou
from pellucid.predictor import Picture
from pellucid.task import task_of
from pellucid.tasks.detect.finder import ObjectFinder
from pellucid.tasks.keypoints.finder import KeypointFinder
from pellucid.tasks.segment.segmenter import Segmenter


@pytest.fixture(scope="module")
def sample_folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[Sample, ...]]:
    folder = tmp_path_factory.mktemp("samples") / "new"
    return folder, write_samples(folder)


def shipped_model(name: str) -> Model:
    return Model.load(shipped_files.pretrained_file(name))


def image_tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


@pytest.mark.heavy
@pytest.mark.slow
def test_every_sample_exists_and_is_small(sample_folder: tuple[Path, tuple[Sample, ...]]):
    folder, samples = sample_folder
    text = (folder / "README.md").read_text(encoding="utf-8")
    for sample in samples:
        assert (folder / sample.name).exists()
        assert f"`{sample.name}`: {sample.about}" in text
        assert sample.is_drawn == ("drawn" in sample.about)
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 4_000_000


def test_sample_pictures_are_written_reproducibly():
    for draw in (blood_smear, people, street, face, lambda seed: mice(seed, 4)):
        first, repeated, other = (draw(seed)[0].tobytes() for seed in (1, 1, 2))
        assert first == repeated
        assert first != other
    assert hand(1).tobytes() == hand(1).tobytes()


def test_a_folder_with_files_is_refused(tmp_path: Path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(PellucidError, match="is not empty; name a new folder"):
        write_samples(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.slow
def test_written_sample_folders_are_read(sample_folder: tuple[Path, tuple[Sample, ...]]):
    folder, _ = sample_folder
    shapes = load_folder(folder / "shapes", size=32)
    assert (shapes.classes, len(shapes)) == (SHAPES, PICTURES_PER_CLASS * len(SHAPES))
    assert len(load_folder(folder / "digits", size=8, mode="L")) == 10 * PICTURES_PER_CLASS
    for part, count in PART_SIZES.items():
        cells, faces = DetectionFolder(folder / "cells", part), DetectionFolder(folder / "faces", part)
        assert (len(cells), cells.classes, cells.faults) == (count, CELLS, ())
        assert (len(faces), len(faces.keypoints), faces.faults) == (count, 68, ())
        caged = DetectionFolder(folder / "mice", part)
        assert (len(caged), caged.keypoints, caged.swaps, caged.faults) == (count, MOUSE_POINTS, ((1, 2),), ())
        scenes = MaskFolder(folder / "street", part)
        assert (len(scenes), scenes.classes) == (count, STREET)
        cars = MaskFolder(folder / "cars", part)
        assert (len(cars), cars.classes, cars.values) == (count, ("0", "255"), {0: 0, 255: 1})
        assert torch.equal(cars.example(0)[1] == 1, scenes.example(0)[1] == STREET.index("car"))
        assert set(np.unique(scenes.example(0)[1]).tolist()) <= set(range(len(STREET)))


def test_the_shipped_detector_finds_the_drawn_cells():
    image, boxes = blood_smear(0)
    result = ObjectFinder(shipped_model("bccd")).find([image_tensor(image)], 0.5)[0]
    overlap = box_iou(torch.tensor([corners for _, *corners in boxes]), result.boxes)
    max_overlap, index = overlap.max(1)
    is_found = (max_overlap > 0.5) & (result.labels[index] == torch.tensor([CELLS.index(name) for name, *_ in boxes]))
    assert is_found.float().mean() > 0.8
    assert len(result) <= len(boxes) + 1


def test_the_shipped_detector_finds_the_drawn_people():
    image, masks = people(1)
    result = ObjectFinder(shipped_model("pennfudan")).find([image_tensor(image)], 0.5)[0]
    truth = torch.from_numpy(np.stack(masks))
    assert result.masks is not None
    overlap = (truth[:, None] & result.masks).sum((2, 3)) / (truth[:, None] | result.masks).sum((2, 3))
    assert len(result) == len(masks)
    assert overlap.max(1).values.min() > 0.5


def test_the_shipped_segmentation_labels_most_pixels_of_the_drawn_street():
    image, labels = street(0)
    segmenter = Segmenter(shipped_model("camvid"))
    names = np.array(segmenter.classes)[segmenter(image_tensor(image)).mask.numpy()]
    right = names == np.array(STREET)[labels]
    assert right.mean() > 0.8
    assert right[labels == STREET.index("car")].mean() > 0.5


def test_the_shipped_key_points_lie_on_the_drawn_face():
    image, points = face(0)
    result = KeypointFinder(shipped_model("faces"))([image_tensor(image)])[0][:, :2]
    assert (result - torch.tensor(points)).norm(dim=1).mean() < 0.04 * image.width


def test_the_shipped_classifiers_predict_the_digit_and_the_hand(sample_folder: tuple[Path, tuple[Sample, ...]]):
    folder, _ = sample_folder
    for name, file, label in (("mnist-lenet", "digit.png", "3"), ("signs", "hand.jpg", "5")):
        model = shipped_model(name)
        predictor = task_of(model).predictor(model)
        image = predictor.read(folder / file)
        (result,) = predictor.predict([(Picture("a", file, lambda image=image: image), image)])
        assert not isinstance(result, PellucidError)
        assert result.values["label"] == label
