"""From the raw files of each form of masks to an evaluated model, by the commands of users."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pellucid.base.text import note_first_time
from pellucid.cli.main import main
from pellucid.data.annotations.convert import convert
from tests.data.mask_sets import draw_set, save, write_layout, write_voc

pytestmark = [pytest.mark.slow, pytest.mark.heavy]
SETTINGS = ["train.epochs=1", "train.batch_size=4"]
GREY = np.array([0, 255], np.uint8)


@pytest.fixture(autouse=True)
def each_note_is_new():
    note_first_time.cache_clear()


def binary(root: Path, drawn) -> None:
    write_layout(root, drawn, "beside", lambda stem: GREY[drawn.masks[stem].clip(max=1)])


def camvid(root: Path, drawn) -> None:
    write_layout(root, drawn, "kaggle", drawn.coloured)
    lines = [f"{c[0]} {c[1]} {c[2]}\t{n}" for c, n in zip(drawn.colours, drawn.names, strict=True)]
    (root / "label_colors.txt").write_text("\n".join(lines))


def roboflow(root: Path, drawn) -> None:
    write_layout(root, drawn, "beside in parts")
    lines = ["Pixel Value, Class", *(f"{k}, {name}" for k, name in enumerate(drawn.names))]
    for part in ("train", "val"):
        (root / part / "_classes.csv").write_text("\n".join(lines))


def cityscapes(root: Path, drawn) -> None:
    for stem, part in drawn.parts.items():
        save(root / f"leftImg8bit/{part}/ulm/{stem}_leftImg8bit.png", drawn.images[stem])
        save(root / f"gtFine/{part}/ulm/{stem}_gtFine_labelIds.png", drawn.masks[stem] + np.uint8(7))


def converted(form: str):
    def write(root: Path, drawn) -> None:
        write_layout(root.with_name("raw"), drawn, "parts outside")
        (root.with_name("raw") / "classes.txt").write_text("\n".join(drawn.names))
        convert(root.with_name("raw"), root, form)

    return write


def cvat_images(root: Path, drawn) -> None:
    images = []
    for stem in drawn.images:
        save(root / f"images/{stem}.png", drawn.images[stem])
        height, width = drawn.masks[stem].shape
        points = f"2,2;{width - 3},2;{width - 3},{height / 2}"
        shape = f'<polygon label="cell" points="{points}" z_order="0"></polygon>'
        images.append(f'<image name="{stem}.png" width="{width}" height="{height}">{shape}</image>')
    (root / "annotations.xml").write_text(f"<annotations>{''.join(images)}</annotations>", encoding="utf-8")


FORMS = {
    "values in parts": lambda root, drawn: write_layout(root, drawn, "parts outside"),
    "0 and 255 beside images": binary,
    "CamVid": camvid,
    "Roboflow": roboflow,
    "found colours": lambda root, drawn: write_layout(root, drawn, "no parts", drawn.coloured),
    "VOC and CVAT masks": write_voc,
    "VOC palette": lambda root, drawn: write_voc(root, drawn, "palette", lists=False),
    "Cityscapes": cityscapes,
    "CVAT for images": cvat_images,
    "labelme": converted("labelme"),
    "COCO": converted("coco"),
    "masks": converted("masks"),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_model_is_trained_and_evaluated(tmp_path, form, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "set"
    FORMS[form](root, draw_set(21, classes=3, count=10))
    assert main(["train", "segment", str(root), *SETTINGS, "--out", "runs"]) == 0
    capsys.readouterr()
    (run,) = Path("runs").iterdir()
    assert main(["evaluate", str(run), "--data", str(root), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert 0 <= result["miou"] <= 1
    classes = 19 if form == "Cityscapes" else 2 if form in ("0 and 255 beside images", "CVAT for images") else 3
    assert len(result["classes"]) == classes


def test_the_sample_folder_is_learned_and_segmented(tmp_path, capsys, monkeypatch):
    """Figures of `evaluate` are those of the files that `segment` writes."""
    from pellucid.data.samples import write_samples

    monkeypatch.chdir(tmp_path)
    write_samples(tmp_path / "try")
    assert main(["train", "segment", "try/cars", "train.epochs=1", "data.size=96", "--out", "runs"]) == 0
    (run,) = Path("runs").iterdir()
    capsys.readouterr()
    assert main(["evaluate", str(run), "--data", "try/cars", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    Path("val").mkdir()
    for file in Path("try/cars/val").glob("*.jpg"):
        file.rename(Path("val") / file.name)
    assert main(["segment", str(run), "val", "--out", "found"]) == 0
    counts = np.zeros((2, 2))  # pixels of both, and of either, by class
    for file in Path("try/cars/val").glob("*_mask.png"):
        truth = np.array(Image.open(file)) == 255
        found = np.array(Image.open(Path("found") / file.name.replace("_mask", "")))
        for label in (0, 1):
            both, either = (truth == label) & (found == label), (truth == label) | (found == label)
            counts[label] += (both.sum(), either.sum())
    ious = (counts[:, 0] / counts[:, 1]).tolist()
    assert [row["iou"] for row in result["classes"]] == pytest.approx(ious, abs=1e-6)
