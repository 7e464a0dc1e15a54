"""Classes without objects, boxes in another format, shifted masks, exchanged key-points."""

import pytest
import torch

from pellucid.data import DetectionFolder
from pellucid.data.annotations.readings import BoxReadings
from pellucid.ops.image_objects import Objects
from pellucid.tasks.detect.doctor import absent_class, box_format, flipped_points, shifted_masks
from tests.detectors.drawn import Rectangles, small_single_stage
from tests.doctor.detection.small_cases import ListSource, make_case, with_changed_objects


def test_a_class_without_objects_is_named():
    assert absent_class.find(make_case()) == []

    def without_green(truth):
        return Objects(truth.boxes, torch.zeros_like(truth.labels), crowd=truth.labels == 1)

    (finding,) = absent_class.find(make_case(with_changed_objects(without_green)))
    count = sum(int((truth.labels == 0).sum()) for _, truth in (Rectangles().example(k) for k in range(12)))
    assert finding.evidence == {"classes": 2, "without_objects": 1, "the_first_of_them": "green", "objects": count}
    (finding,) = absent_class.find(make_case(detector=small_single_stage(classes=3)))
    assert finding.evidence["the_first_of_them"] == "2"  # the data have no name for class 2


BOX_FORMATS = {
    "x, y, width, height": lambda x0, y0, x1, y1: (x0, y0, x1 - x0, y1 - y0),
    "x and y of the centre, width, height": lambda x0, y0, x1, y1: ((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0),
    "corners that were taken for x, y, width, height": lambda x0, y0, x1, y1: (x0, y0, x0 + x1, y0 + y1),
    "y before x": lambda x0, y0, x1, y1: (y0, x0, y1, x1),
}


def write_voc(folder, box_format):
    """Write rectangles as Pascal VOC files, with boxes converted by `box_format`."""
    from PIL import Image

    for name in ("Annotations", "JPEGImages"):
        (folder / name).mkdir(parents=True)
    for k in range(12):
        image, truth = Rectangles().example(k)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / "JPEGImages" / f"{k}.png")
        objects = ""
        for box, label in zip(truth.boxes.tolist(), truth.labels.tolist(), strict=True):
            corners = zip(("xmin", "ymin", "xmax", "ymax"), box_format(*box), strict=True)
            rows = "".join(f"<{name}>{value}</{name}>" for name, value in corners)
            objects += f"<object><name>{Rectangles.classes[label]}</name><bndbox>{rows}</bndbox></object>"
        size = "<size><width>64</width><height>48</height><depth>3</depth></size>"
        text = f"<annotation><filename>{k}.png</filename>{size}{objects}</annotation>"
        (folder / "Annotations" / f"{k}.xml").write_text(text)
    return folder


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", BOX_FORMATS)
def test_boxes_in_another_order_are_named(name, tmp_path, monkeypatch):
    monkeypatch.setattr(BoxReadings, "fault", lambda self: "")  # which asks if more boxes are so
    source = DetectionFolder(write_voc(tmp_path, BOX_FORMATS[name]))
    (finding,) = box_format.find(make_case(source))
    assert finding.evidence["they_look_like"] == name
    assert finding.evidence["boxes"] == finding.evidence["possible_if_read_so"] == 27

    def possible(x0, y0, x1, y1):
        return -1 <= x0 < x1 <= 65 and -1 <= y0 < y1 <= 49

    is_impossible = [
        not possible(*BOX_FORMATS[name](*box)) for k in range(12) for box in Rectangles().example(k)[1].boxes.tolist()
    ]
    assert finding.evidence["impossible_in_their_images"] == sum(is_impossible)


def test_boxes_as_fractions_of_the_image_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(BoxReadings, "fault", lambda self: "")  # which asks if more boxes are so

    def fractions(x0, y0, x1, y1):
        return x0 / 64, y0 / 48, x1 / 64, y1 / 48

    (finding,) = box_format.find(make_case(DetectionFolder(write_voc(tmp_path / "shares", fractions))))
    assert finding.evidence == {"boxes": 27, "between_zero_and_one": 27}
    assert box_format.find(make_case(DetectionFolder(write_voc(tmp_path / "right", lambda *box: box)))) == []
    assert box_format.find(make_case()) == []


def discs(right=0, down=0, count=12):
    """Return bright discs on noise, whose masks and boxes are shifted."""

    def example(k):
        rng = torch.Generator().manual_seed(k)
        x, y = (30 + 36 * torch.rand(2, generator=rng)).tolist()
        rows, columns = torch.arange(96)[:, None] + 0.5, torch.arange(96) + 0.5
        disc = (rows - y) ** 2 + (columns - x) ** 2 < 14**2
        image = (0.3 * torch.rand(3, 96, 96, generator=rng) + 0.5 * disc).mul(255).byte()
        mask = (rows - y - down) ** 2 + (columns - x - right) ** 2 < 14**2
        box = torch.tensor([[x + right - 14, y + down - 14, x + right + 14, y + down + 14]])
        return image, Objects(box, torch.tensor([0]), masks=mask[None])

    return ListSource([example(k) for k in range(count)], ("disc",))


@pytest.mark.parametrize("shift", [(0, 0), (1, -1), (6, 0), (-4, 9)])
def test_shifted_masks_are_found_with_their_shift(shift):
    findings = shifted_masks.find(make_case(discs(*shift), small_single_stage(classes=1)))
    if max(map(abs, shift)) < 3:
        assert findings == []
        return
    assert findings[0].evidence["edges_lie_pixels_to_the_right"] == pytest.approx(-shift[0], abs=1)
    assert findings[0].evidence["edges_lie_pixels_below"] == pytest.approx(-shift[1], abs=1)
    assert findings[0].evidence["masks"] == 12


def faces(flipped=(), count=20):
    """Return objects with two pairs of key-points; left and right are exchanged in the images `flipped`."""

    def example(k):
        x0, y0 = 4 + k % 3, 5 + k % 4
        left, right = (x0 + 12, x0 + 3) if k not in flipped else (x0 + 3, x0 + 12)
        points = [[left, y0 + 3, 2], [right, y0 + 3, 2], [left - 1, y0 + 9, 2], [right + 1, y0 + 9, 1], [9, 9, 2]]
        box = torch.tensor([[x0, y0, x0 + 15, y0 + 15]], dtype=torch.float32)
        return torch.zeros(3, 40, 40), Objects(box, torch.tensor([0]), keypoints=torch.tensor([points]).float())

    return ListSource([example(k) for k in range(count)], ("face",), ((0, 1), (2, 3)))


def test_exchanged_key_points_are_counted():
    one_class = small_single_stage(classes=1)
    assert flipped_points.find(make_case(faces(), one_class)) == []
    (finding,) = flipped_points.find(make_case(faces({4, 11, 12}), one_class))
    assert finding.evidence == {
        "objects": 20,
        "with_left_and_right_exchanged": 3,
        "the_first_of_them_in_image": 4,
        "pairs_of_key_points": 2,
    }
    assert (
        flipped_points.find(make_case(ListSource(faces({1, 2}).examples, ("face",)), one_class)) == []
    )  # no left-right pairs
