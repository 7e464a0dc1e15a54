"""Masks in the forms in which people have them are read as Pillow and NumPy read them."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid.base.errors import PellucidError
from pellucid.base.text import note_first_time
from pellucid.cli.main import main
from pellucid.data import MaskFolder
from pellucid.data.mask_classes import CITYSCAPES
from pellucid.data.mask_settings import MaskSettings, reading_masks
from pellucid.data.masks import mask_split
from pellucid.recipe.material import load_material
from pellucid.recipe.own import recipe_for
from tests.data.mask_sets import LAYOUTS, MaskSet, draw_set, save, write_layout, write_voc

IMAGE_WORDS = re.compile("^(img_|Image-|seg_)|(_leftImg8bit|_sat)$")  # in the names of images, not of masks


@pytest.fixture(autouse=True)
def each_note_is_new():
    note_first_time.cache_clear()


def read_all(root: Path, **settings) -> tuple[dict[str, np.ndarray], tuple[str, ...] | None, dict[str, str]]:
    """Return the masks that a training reads by the stem of the image, the names of the classes, and the parts."""
    recipe, _ = recipe_for("segment", str(root), {f"data.{key}": value for key, value in settings.items()})
    material = load_material(recipe.data, 0, None, recipe.loss.arguments["ignore"])
    material.refuse_unreadable()
    masks, parts = {}, {}
    for part, source in (("train", material.train), ("val", material.test)):
        files = getattr(source, "source", source)
        for k in source.indices.tolist() if hasattr(source, "indices") else range(len(source)):
            stem = IMAGE_WORDS.sub("", Path(files.names[k]).stem)
            masks[stem], parts[stem] = files.read_pair(k)[1].numpy(), part
            if files.values is not None:
                masks[stem] = files._class_indices(torch.from_numpy(masks[stem]), "mask").numpy()
    assert material.train.batch([0], torch.Generator()).images.shape[0] == 1
    return masks, (files.classes), parts


def check(drawn: MaskSet, root: Path, names=None, has_parts: bool = True, **settings) -> None:
    """Check every pixel, and the parts. names: of the classes, in any order."""
    masks, classes, parts = read_all(root, **settings)
    assert {*masks} == {*drawn.masks}
    if has_parts:
        assert parts == drawn.parts
    for stem, mask in drawn.masks.items():
        expected = mask
        if names is not None:
            assert sorted(classes) == sorted(names)
            table = np.full(256, 255)
            table[: len(names)] = [classes.index(name) for name in names]
            expected = table[mask]
        np.testing.assert_array_equal(masks[stem], expected, err_msg=stem)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.long), pytest.param(2, marks=pytest.mark.long)])
def test_layouts(tmp_path, layout, seed):
    drawn = draw_set(seed, void=seed % 2 == 1)
    write_layout(tmp_path / "set", drawn, layout)
    check(drawn, tmp_path / "set", has_parts="val" in "".join(LAYOUTS[layout]("val", "a", ".png")))


def rows(drawn: MaskSet, form: str) -> list[str]:
    """Return a line for each class; form: with {name}, {r}, {g} and {b}."""
    classes = zip(drawn.names, drawn.colours, strict=True)
    return [form.format(name=name, r=red, g=green, b=blue) for name, (red, green, blue) in classes]


COLOUR_LISTS = {
    "classes.txt": lambda drawn: rows(drawn, "{r},{g},{b}: {name}"),
    "label_colors.txt": lambda drawn: rows(drawn, "{r} {g} {b}\t\t{name}"),
    "class_dict.csv": lambda drawn: ["name,r,g,b", *rows(drawn, '"{name}",{r}, {g},{b}')],
    "labelmap.txt": lambda drawn: rows(drawn, "{name}:{r},{g},{b}::"),
}


@pytest.mark.parametrize("form", COLOUR_LISTS)
@pytest.mark.parametrize("seed", [3, pytest.param(4, marks=pytest.mark.long)])
def test_colours_of_a_list(tmp_path, form, seed):
    drawn = draw_set(seed, classes=4)
    write_layout(tmp_path / "set", drawn, "parts outside", drawn.coloured)
    (tmp_path / "set" / form).write_text("\n".join(COLOUR_LISTS[form](drawn)) + "\n", encoding="utf-8")
    check(drawn, tmp_path / "set", drawn.names)


def test_void_colours_have_no_class(tmp_path):
    drawn = draw_set(5, classes=3, void=True)
    drawn.void_colour = (0, 0, 0)
    write_layout(tmp_path / "set", drawn, "kaggle", drawn.coloured)
    lines = [*COLOUR_LISTS["label_colors.txt"](drawn), "0 0 0\tVoid"]
    (tmp_path / "set/label_colors.txt").write_text("\n".join(lines))
    check(drawn, tmp_path / "set", drawn.names)


@pytest.mark.parametrize("kind", ["colours", "palette"])
@pytest.mark.parametrize("lists", [True, False])
def test_voc_and_cvat(tmp_path, kind, lists, capsys):
    drawn = draw_set(6 + lists, classes=4, void=True)
    write_voc(tmp_path / "set", drawn, kind, lists)
    check(drawn, tmp_path / "set", drawn.names, has_parts=lists)
    assert "masks in SegmentationClass/ for JPEGImages/, read by colours: " in capsys.readouterr().err


def test_colours_without_a_list_are_classes(tmp_path, capsys):
    drawn = draw_set(8, classes=3)
    write_layout(tmp_path / "set", drawn, "no parts", drawn.coloured)
    check(drawn, tmp_path / "set", [",".join(map(str, colour)) for colour in drawn.colours], has_parts=False)
    assert "read by colours: " in capsys.readouterr().err


def test_roboflow(tmp_path, real_data):
    root = real_data("wild") / "mask-beside"
    masks, classes, _ = read_all(root)
    rows = [line.split(",") for line in (root / "train/_classes.csv").read_text().splitlines()[1:]]
    assert classes == tuple(row[1].strip() for row in rows)
    assert len(masks) == 24
    for stem, mask in masks.items():
        (file,) = root.glob(f"*/{stem}_mask.png")
        np.testing.assert_array_equal(mask, np.array(Image.open(file)))


def test_membrane_has_two_classes(real_data, capsys):
    root = real_data("wild") / "membrane"
    masks, classes, parts = read_all(root)
    assert classes == ("0", "255")
    total = np.stack([np.array(Image.open(root / f"label/{stem}.png")) for stem in masks]) == 255
    np.testing.assert_array_equal(np.stack([*masks.values()]), total)
    error = capsys.readouterr().err
    share = total[[part == "train" for part in parts.values()]].mean()
    assert f"16 masks in label/ for image/, read by values: 0 {100 * (1 - share):.1f} %, 255 " in error
    assert "no pixel is ignored" in error
    _, classes, _ = read_all(root, mask_classes=["0: membrane", "255: cell"])
    assert classes == ("membrane", "cell")


def test_labelme_export(real_data):
    root = real_data("wild") / "labelme/semantic/data_dataset_voc"
    masks, classes, _ = read_all(root)
    assert classes == tuple((root / "class_names.txt").read_text().split("\n")[:21])
    for stem, mask in masks.items():
        np.testing.assert_array_equal(mask, np.array(Image.open(root / f"SegmentationClass/{stem}.png")))


def cityscapes(root: Path, drawn: MaskSet, ending: str) -> list[int]:
    values = [26, 7, 3, 255] if ending == "labelIds" else [13, 0, 255, 255]
    table = np.array(values, np.uint8)
    for stem, part in drawn.parts.items():
        save(root / f"leftImg8bit/{part}/ulm/{stem}_leftImg8bit.png", drawn.images[stem])
        save(root / f"gtFine/{part}/ulm/{stem}_gtFine_{ending}.png", table[drawn.masks[stem]])
        for other in ("color", "instanceIds", *(["labelTrainIds"] if ending == "labelIds" else [])):
            save(root / f"gtFine/{part}/ulm/{stem}_gtFine_{other}.png", drawn.coloured(stem))
    return values


@pytest.mark.parametrize("ending", ["labelIds", "labelTrainIds"])
def test_cityscapes(tmp_path, ending):
    drawn = draw_set(9, classes=4)
    values = cityscapes(tmp_path / "set", drawn, ending)
    masks, classes, parts = read_all(tmp_path / "set")
    assert parts == drawn.parts
    assert classes == tuple(CITYSCAPES.values())
    names = {0: "car", 1: "road"}
    for stem, mask in drawn.masks.items():
        expected = np.select([mask == 0, mask == 1], [classes.index(names[0]), classes.index(names[1])], 255)
        np.testing.assert_array_equal(masks[stem], expected)
    assert values[0] in CITYSCAPES or ending == "labelTrainIds"


@pytest.mark.parametrize("form", ["L", "RGB", "RGB list", "16 bits", "white of 16 bits", "1 bit"])
def test_binary_masks(tmp_path, form):
    """255 and 0 are both classes, whatever the mode of the file is."""
    drawn = draw_set(10, classes=2)
    arrays = {
        "L": lambda stem: drawn.masks[stem] * np.uint8(255),
        "16 bits": lambda stem: drawn.masks[stem].astype(np.uint16) * 255,
        "white of 16 bits": lambda stem: drawn.masks[stem].astype(np.uint16) * 65_535,
        "1 bit": lambda stem: drawn.masks[stem].astype(bool),
    }
    as_rgb = lambda stem: np.repeat(drawn.masks[stem][..., None] * np.uint8(255), 3, 2)  # noqa: E731
    write_layout(tmp_path / "set", drawn, "parts outside", arrays.get(form, as_rgb))
    names = ("0", "255")
    if form == "1 bit":
        names = None
    if form == "RGB list":
        names = ("not a cell", "cell")
        (tmp_path / "set/labelmap.txt").write_text("cell:255,255,255::\nnot a cell:0,0,0::\n")
    check(drawn, tmp_path / "set", names)


@pytest.mark.parametrize("clear", ["not painted", "black too", "half painted", "black is a thing"])
def test_transparent_pixels_are_black_or_refused(tmp_path, clear):
    """Pixels that nobody painted are transparent and black; beside painted black, what they mean is unknown."""
    drawn = draw_set(11)
    drawn.colours[0] = (0, 0, 0)

    def array(stem: str) -> np.ndarray:
        opacity = np.where(drawn.masks[stem] == 0, 0, 255).astype(np.uint8)
        if clear == "black too":
            opacity[:, ::2] = 255
        if clear == "half painted":
            opacity[drawn.masks[stem] == 1] = 128
        return np.dstack([drawn.coloured(stem), opacity])

    write_layout(tmp_path / "set", drawn, "parts outside", array)
    names = ("road", *drawn.names[1:]) if clear == "black is a thing" else drawn.names
    lines = [f"{name}:{','.join(map(str, code))}::" for name, code in zip(names, drawn.colours, strict=True)]
    (tmp_path / "set/labelmap.txt").write_text("\n".join(lines))
    if clear == "not painted":
        check(drawn, tmp_path / "set", drawn.names)
    else:
        with pytest.raises(PellucidError, match="transparent pixels"):
            read_all(tmp_path / "set")


def test_grey_masks_of_listed_colours_are_not_places_in_the_list(tmp_path):
    drawn = draw_set(11, classes=2)
    write_layout(tmp_path / "set", drawn, "no parts", lambda stem: drawn.masks[stem] * np.uint8(255))
    (tmp_path / "set/labelmap.txt").write_text("background:0,0,0::\ncell:255,255,255::\n")
    check(drawn, tmp_path / "set", ("background", "cell"), has_parts=False)


def test_values_beside_a_list_of_colours_are_places_in_the_list(tmp_path):
    drawn = draw_set(12, classes=3, void=True)
    write_layout(tmp_path / "set", drawn, "no parts")
    (tmp_path / "set/labelmap.txt").write_text("background:0,0,0::\ncell:255,255,255::\nnucleus:9,9,9::\n")
    check(drawn, tmp_path / "set", drawn.names, has_parts=False)


@pytest.mark.parametrize("form", ["jpeg", "smoothed", "jpeg colours", "smoothed colours"])
def test_blurred_masks_are_refused_or_read_as_the_nearest_class(tmp_path, form, capsys):
    drawn = draw_set(13, classes=2, size=48)
    drawn.colours = [(10, 20, 200), (250, 240, 30)]
    expected = {}
    for stem, part in drawn.parts.items():
        save(tmp_path / f"set/{part}/images/{stem}.png", drawn.images[stem])
        array = drawn.coloured(stem) if "colours" in form else drawn.masks[stem] * np.uint8(255)
        if "smoothed" in form:
            height, width = array.shape[:2]
            small = Image.fromarray(array).resize((width // 2, height // 2), Image.Resampling.BILINEAR)
            array = np.array(small.resize((width, height), Image.Resampling.BILINEAR))
        path = tmp_path / f"set/{part}/masks/{stem}.{'jpg' if 'jpeg' in form else 'png'}"
        save(path, array, **({"quality": 90} if "jpeg" in form else {}))
        pixels = np.array(Image.open(path).convert("RGB")).astype(int)
        colours = np.array(drawn.colours if "colours" in form else [(0, 0, 0), (255, 255, 255)])
        expected[stem] = ((pixels[:, :, None] - colours) ** 2).sum(3).argmin(2)
    if "colours" in form:
        (tmp_path / "set/class_dict.csv").write_text("name,r,g,b\nsea,10,20,200\nland,250,240,30\n")
    with pytest.raises(PellucidError, match=r"data\.mask_nearest=true"):
        read_all(tmp_path / "set")
    masks, classes, _ = read_all(tmp_path / "set", mask_nearest=True)
    assert classes == (("sea", "land") if "colours" in form else ("0", "255"))
    for stem, mask in expected.items():
        np.testing.assert_array_equal(masks[stem], mask)
    assert "are read as the nearest" in capsys.readouterr().err


def test_settings_state_what_is_not_recognized(tmp_path, capsys):
    drawn = draw_set(14, classes=3, void=True)
    for stem, part in drawn.parts.items():
        save(tmp_path / f"set/{part}/photos of us/{stem}.jpg", drawn.images[stem])
        save(
            tmp_path / f"set/{part}/truth/{stem}-t.png",
            np.array([7, 70, 170, *[99] * 253], np.uint8)[drawn.masks[stem]],
        )
    with pytest.raises(PellucidError, match="has no masks"):
        read_all(tmp_path / "set")
    check(
        drawn, tmp_path / "set", ("a", "b", "c"), mask_folders=["photos of us", "truth"], mask_ending="-t",
        mask_classes=["7: a", "70: b", "170: c"], mask_ignored=[99],
    )  # fmt: skip
    assert "; 99, " in capsys.readouterr().err


BLACK = np.zeros((9, 9), np.uint8)


def cut_mask(root: Path) -> None:
    file = root / "train/masks/one.png"
    save(file, np.array(Image.open(file))[:, :8])


def list_missing(root: Path) -> None:
    stems = [path.stem for path in (root / "train/images").iterdir()]
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    (root / "ImageSets/Segmentation/train.txt").write_text("\n".join([*stems, "gone"]))


def write_list(lines: str, name: str = "class_dict.csv"):
    return lambda root: (root / name).write_text("name,r,g,b\n" + lines)


def write_image(name: str, array: np.ndarray = BLACK):
    return lambda root: save(root / "train" / name, array)


REFUSED = {
    "image without a mask": (write_image("images/more.png"), "more.png has no mask in train/masks/"),
    "mask without an image": (write_image("masks/more.png"), "more.png has no image in train/images/"),
    "two masks": (write_image("gt/one.png"), "may both be the mask of"),
    "two images": (write_image("images/one.bmp"), "differ only in their suffix"),
    "another size": (cut_mask, "one.png is 9x8 but its image is 9x9"),
    "another colour": (
        write_image("masks/one.png", np.full((9, 9, 3), 77, np.uint8)),
        "one.png has 81 pixels of 1 colour that none of the 4 classes has, such as 77,77,77",
    ),
    "an invalid list": (write_list("a,1,2,x"), "class_dict.csv, row 2: no name and r g b"),
    "a colour twice": (write_list("a,1,2,3\nb,1,2,3"), "line 3: the colour 1,2,3 stands twice"),
    "lists that differ": (write_list("a,1,2,3", "train/class_dict.csv"), "name different classes"),
    "a long list": (write_list("a" * (1 << 20)), "above the limit of 1,048,576"),
    "a missing list entry": (list_missing, "gone has no image in train/images/"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refused(tmp_path, kind, capsys):
    drawn = draw_set(15, classes=4, count=12)
    root = tmp_path / "set"
    write_layout(root, drawn, "parts outside", drawn.coloured)
    (root / "class_dict.csv").write_text("\n".join(COLOUR_LISTS["class_dict.csv"](drawn)))
    save(root / "train/images/one.png", np.zeros((9, 9), np.uint8))
    save(root / "train/masks/one.png", np.full((9, 9, 3), drawn.colours[0], np.uint8))
    change, message = REFUSED[kind]
    change(root)
    assert main(["train", "segment", str(root), "--out", str(tmp_path / "runs")]) == 2
    error = capsys.readouterr().err
    assert message in error.splitlines()[-1]
    main(["data", "lint", str(root), "--json"])
    reasons = [row["reason"] for row in json.loads(capsys.readouterr().out)["faults"] if row["effect"] == "refused"]
    assert any(message.split(" has ")[-1] in reason for reason in reasons), reasons


@pytest.mark.parametrize("kind", ["image without a mask", "mask without an image", "another size", "another colour"])
def test_skipped(tmp_path, kind, capsys):
    drawn = draw_set(16, classes=4, count=20)
    root = tmp_path / "set"
    write_layout(root, drawn, "parts outside", drawn.coloured)
    (root / "class_dict.csv").write_text("\n".join(COLOUR_LISTS["class_dict.csv"](drawn)))
    if "size" in kind or "colour" in kind:
        save(root / "train/images/one.png", np.zeros((9, 9), np.uint8))
        save(root / "train/masks/one.png", np.full((9, 9, 3), drawn.colours[0], np.uint8))
    REFUSED[kind][0](root)
    masks, _, _ = read_all(root, skip=True)
    assert {*masks} == {*drawn.masks}
    assert "they are left out" in capsys.readouterr().err


def test_more_than_255_colours_are_refused(tmp_path):
    drawn = draw_set(17, classes=2, count=6)
    for stem, part in drawn.parts.items():
        save(tmp_path / f"set/{part}/images/{stem}.png", drawn.images[stem])
        save(tmp_path / f"set/{part}/masks/{stem}.png", drawn.rng.integers(0, 256, drawn.images[stem].shape, np.uint8))
    with pytest.raises(PellucidError, match=r"the masks have [0-9,]+ colours, .* the most frequent are"):
        read_all(tmp_path / "set")


def test_class_folders_are_no_masks(tmp_path):
    """Names of photos may end as those of masks; masks beside images in class folders are read for segmentation."""
    drawn = draw_set(18, classes=2)
    for stem in drawn.images:
        save(tmp_path / f"photos/left/{stem}.png", drawn.images[stem])
        save(tmp_path / f"photos/right/{stem}_L.png", drawn.images[stem])
        save(tmp_path / f"busi/{drawn.parts[stem]}er/{stem}.png", drawn.images[stem])
        save(tmp_path / f"busi/{drawn.parts[stem]}er/{stem}_mask.png", drawn.masks[stem] * np.uint8(255))
    assert mask_split(tmp_path / "photos").train is None
    assert mask_split(tmp_path / "busi").train is None
    check(drawn, tmp_path / "busi", ("0", "255"), has_parts=False)


def test_objects_beside_masks_are_read_for_detection(tmp_path, capsys):
    drawn = draw_set(19, classes=3)
    write_voc(tmp_path / "set", drawn, "palette")
    xml = "<annotation><object><name>cell</name><bndbox>"
    xml += "<xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>"
    (tmp_path / "set/Annotations").mkdir()
    for stem in drawn.masks:
        (tmp_path / f"set/Annotations/{stem}.xml").write_text(xml)
    check(drawn, tmp_path / "set", drawn.names)
    recipe, settings = recipe_for("detect", str(tmp_path / "set"), {})
    assert "data.targets" not in settings
    assert type(load_material(recipe.data, 0).train).__name__ == "DetectionFolder"


def test_python_sources_read_settings(tmp_path):
    drawn = draw_set(20, classes=2)
    write_layout(tmp_path, drawn, "beside")
    with reading_masks(MaskSettings(mask_classes=("0: sky", "1: bird"))):
        source = MaskFolder(tmp_path, "")
    assert source.classes == ("sky", "bird")
    assert len(source) == len(drawn.masks)
