"""Cases of detectors from folders: only data with the detector's classes, whose labels are its class indices."""

from pathlib import Path

import pytest
from PIL import Image

from pellucid.base.errors import PellucidError
from pellucid.data import DetectionFolder
from pellucid.model import Model
from pellucid.tasks.detect.doctor.cases import case_of_detector_model
from tests.detectors.drawn import Rectangles, small_single_stage
from tests.doctor.detection.test_objects import write_voc


def detector(*classes: str) -> Model:
    return Model(small_single_stage(), input_shape=(3, None, None), classes=classes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_voc(tmp_path_factory.mktemp("rectangles") / "set", lambda *box: box)


@pytest.mark.parametrize("reverse", [False, True])
def test_labels_are_the_class_indices_of_the_detector(folder: Path, reverse: bool) -> None:
    classes = tuple(sorted(Rectangles.classes, reverse=reverse))
    case = case_of_detector_model(detector(*classes), str(folder))
    assert isinstance(case.train, DetectionFolder)
    assert case.classes == classes
    for name, objects in zip(case.train.names, case.objects, strict=True):
        _, truth = Rectangles().example(int(Path(name).stem))
        expected = [Rectangles.classes[label] for label in truth.labels.tolist()]
        assert [classes[label] for label in objects.labels.tolist()] == expected


def test_data_with_a_class_that_the_detector_lacks_are_refused_with_both_lists(folder: Path) -> None:
    present = ", ".join(DetectionFolder(folder).classes or ())
    with pytest.raises(PellucidError, match=f"has the classes {present}, but the model has cat, red; give data with"):
        case_of_detector_model(detector("cat", "red"), str(folder))


def test_data_without_annotated_objects_are_refused(tmp_path: Path) -> None:
    (tmp_path / "red").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "red" / "0.png")
    with pytest.raises(PellucidError, match="has no annotated objects; give images with annotations of CVAT, "):
        case_of_detector_model(detector("green", "red"), str(tmp_path))
