"""Classes without objects."""

import torch

from pellucid.ops.image_objects import Objects
from pellucid.tasks.detect.doctor import absent_class
from tests.detectors.drawn import Rectangles, small_single_stage
from tests.doctor.detection.small_cases import make_case, with_changed_objects


def test_a_class_without_objects_is_named():
    assert absent_class.find(make_case()) == []

    def without_green(truth):
        return Objects(truth.boxes, torch.zeros_like(truth.labels), crowd=truth.labels == 1)

    (finding,) = absent_class.find(make_case(with_changed_objects(without_green)))
    count = sum(int((truth.labels == 0).sum()) for _, truth in (Rectangles().example(k) for k in range(12)))
    assert finding.evidence == {"classes": 2, "without_objects": 1, "the_first_of_them": "green", "objects": count}
    (finding,) = absent_class.find(make_case(detector=small_single_stage(classes=3)))
    assert finding.evidence["the_first_of_them"] == "2"  # the data have no name for class 2


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
