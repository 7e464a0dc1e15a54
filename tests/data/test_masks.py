"""Images with masks of classes: pixels as decoded by Pillow, and the classes of the values that masks have."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid.base.errors import PellucidError
from pellucid.base.text import note_first_time
from pellucid.cli.main import main
from pellucid.data import Loader, MaskFolder
from pellucid.recipe.material import load_material
from pellucid.recipe.tables import Data
from pellucid.tasks.segment.own import recipe_for
from tests.data.pictures import grey_bytes, picture_bytes


@pytest.fixture(autouse=True)
def each_note_is_new():
    note_first_time.cache_clear()


def pillow_pixels(data, size=None):
    image = Image.open(io.BytesIO(data)).convert("RGB")
    image = image if size is None else image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(image).transpose(2, 0, 1)


RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (3, 5, 8, 3), dtype=np.uint8)
MASKS = RNG.integers(0, 4, (3, 5, 8), dtype=np.uint8)
JPEG, COLOUR = grey_bytes(RGB[0], "JPEG"), grey_bytes(RGB[0])
PAIRS = {f"train/deep/{k}.jpg": grey_bytes(RGB[k], "JPEG") for k in range(3)} | {
    f"trainannot/deep/{k}.png": grey_bytes(MASKS[k]) for k in range(3)
}


@pytest.mark.parametrize("name", ["plain", "packed.zip"])
def test_masks_have_the_values_of_their_files(write_tree, name):
    source = MaskFolder(write_tree(name, PAIRS), classes=["a", "b", "c", "d"])
    (batch,) = Loader(source, 3, seed=0, shuffle=False).epoch(0)
    assert batch.targets.dtype is torch.int64
    np.testing.assert_array_equal(batch.targets.numpy(), MASKS)
    for k in range(3):
        expected = pillow_pixels(PAIRS[f"train/deep/{k}.jpg"]).astype(np.float32) / np.float32(255)
        np.testing.assert_array_equal(batch.images[k].numpy(), expected)


def test_class_indices_of_masks_are_mapped_by_class_name(write_tree):
    path = write_tree("named", {**PAIRS, "classes.txt": b"d\nc\nb\na\n"})
    source = MaskFolder(path, classes=["a", "b", "c", "d", "e"])
    (batch,) = Loader(source, 3, seed=0, shuffle=False).epoch(0)
    np.testing.assert_array_equal(batch.targets.numpy(), 3 - MASKS)  # index of d: 0 in classes.txt, 3 in `classes`
    with pytest.raises(PellucidError, match=r"classes\.txt names the class 'd', which is not among a, b, c;"):
        MaskFolder(path, classes=["a", "b", "c"])


def test_palette_masks_contain_indices_not_colours(write_tree):
    mask = Image.fromarray(MASKS[0], "P")
    mask.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200, 9, 9, 9])
    out = io.BytesIO()
    mask.save(out, "PNG")
    source = MaskFolder(write_tree("p", {"train/0.jpg": PAIRS["train/deep/0.jpg"], "trainannot/0.png": out.getvalue()}))
    np.testing.assert_array_equal(source.example(0)[1].numpy(), MASKS[0])


def test_images_are_resized_bilinearly_and_masks_to_the_nearest_pixel(write_tree):
    source = MaskFolder(write_tree("plain", PAIRS), size=(10, 4))
    image, mask = source.example(1)
    np.testing.assert_array_equal(image.numpy(), pillow_pixels(PAIRS["train/deep/1.jpg"], (10, 4)))
    nearest = Image.fromarray(MASKS[1]).resize((4, 10), Image.Resampling.NEAREST)
    np.testing.assert_array_equal(mask.numpy(), np.asarray(nearest))


def test_batches_of_different_sizes_are_padded_with_the_ignored_class(write_tree):
    files = {
        f"val{kind}/{k}.png": grey_bytes(a[:, : 8 - k])
        for k in range(3)
        for kind, a in (("", RGB[k]), ("annot", MASKS[k]))
    }
    (batch,) = Loader(MaskFolder(write_tree("sizes", files), "val", ignored=7), 3, 0, shuffle=False).epoch(0)
    assert batch.images.shape == (3, 3, 5, 8)
    for k in range(3):
        np.testing.assert_array_equal(batch.targets[k, :, : 8 - k].numpy(), MASKS[k][:, : 8 - k])
        assert bool((batch.targets[k, :, 8 - k :] == 7).all())


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"train/deep/9.jpg": JPEG}, {}, r"9\.jpg has no mask in trainannot/"),
        ({"trainannot/deep/9.png": COLOUR}, {}, r"9\.png has no image in train/"),
        ({"train/deep/1.png": COLOUR}, {}, "differ only in their suffix"),
        ({"trainannot/deep/0.png": grey_bytes(MASKS[0][:4])}, {}, r"0\.png is 4x8 but its image is 5x8"),
        ({"trainannot/deep/0.png": COLOUR}, {}, r"0\.png is a mask in colours \(mode RGB\); save one 8-bit value"),
        ({}, {"classes": ["a", "b", "c"]}, "contains the class 3, but there are 3 classes"),
        ({}, {"part": "val"}, "contains no images"),
    ],
)
def test_masks_that_do_not_match_their_images_are_reported(write_tree, change, options, message):
    path = write_tree("masks", PAIRS | change)
    with pytest.raises(PellucidError, match=message):
        list(Loader(MaskFolder(path, **options), 3, 0).epoch(0))


def test_an_ignored_class_outside_the_class_names_is_accepted(write_tree):
    source = MaskFolder(write_tree("masks", PAIRS), classes=["a", "b", "c"], ignored=3)
    assert len(list(Loader(source, 3, 0).epoch(0))) == 1


def test_camvid_is_read(real_data):
    source = MaskFolder(real_data("camvid"), "val", ignored=11)
    image, mask = source.example(7)
    names = sorted((real_data("camvid") / "valannot").iterdir())
    np.testing.assert_array_equal(mask.numpy(), np.asarray(Image.open(names[7])))
    assert (len(source), image.shape, image.dtype) == (101, (3, 180, 240), torch.uint8)


SIZE = (16, 24)  # height and width of the masks below


def random_masks(values, count=6, seed=0):
    """Return masks in which each of `values` occurs in every mask."""
    rng = np.random.default_rng(seed)
    masks = rng.choice(np.array(values, np.uint8), (count, *SIZE))
    masks.reshape(count, -1)[:, : len(values)] = values
    return masks


def mask_set(masks, classes=None, part="train", kind="PNG", **options):
    """Return the files of a data set of these masks (N, H, W). classes: the lines of classes.txt."""
    files = {} if classes is None else {"classes.txt": "\n".join(classes).encode()}
    for k, mask in enumerate(masks):
        files[f"{part}/{k}.png"] = picture_bytes((40 * k, 90, 9), (SIZE[1], SIZE[0]))
        files[f"{part}annot/{k}.{'jpg' if kind == 'JPEG' else 'png'}"] = grey_bytes(mask, kind, **options)
    return files


def loaded(path, **settings):
    """Return the training masks that a recipe reads, in memory and streamed, which must be equal."""
    streamed = load_material(Data(str(path), size=SIZE[1], stream=True), 0, ignored=settings.get("ignored"))
    streamed.refuse_unreadable()
    masks = load_material(Data(str(path)), 0, ignored=settings.get("ignored")).train
    targets = streamed.train.batch(range(len(streamed.train)), torch.Generator()).targets
    assert torch.equal(targets, masks.y.long())
    assert streamed.train.classes in (masks.classes, None)
    return masks


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("classes", [None, ["sky", "bird"], ["0: sky", "255: bird"], ["255: bird", "0: sky"]])
def test_masks_of_0_and_255_have_two_classes(write_tree, capsys, classes, count):
    """In one mask of several all pixels may be background, in another all foreground."""
    masks = random_masks([0, 255], count)
    masks[1:2], masks[2:3] = 0, 255
    path = write_tree("set", mask_set(masks, classes) | mask_set(masks[:1], part="test"))
    data = loaded(path)
    foreground = 1 - int(classes is not None and classes[0].startswith("255"))
    assert torch.equal(data.y, torch.from_numpy(np.where(masks == 255, foreground, 1 - foreground)).to(torch.uint8))
    assert data.classes[foreground] == ("255" if classes is None else "bird")
    assert ("255 is read as the class" in capsys.readouterr().err) == (classes is None or ":" not in classes[0])
    recipe = recipe_for(str(path))
    assert recipe.settings["network.classes"] == 2
    assert recipe.settings["loss.ignore"] == 255
    fraction = (masks == 255).mean()
    weights = recipe.settings["loss.class_weights"]
    assert weights[foreground] / weights[1 - foreground] == pytest.approx(((1 - fraction) / fraction) ** 0.5, abs=0.02)


def test_255_is_no_class_where_another_mask_has_other_values(write_tree, capsys):
    masks = random_masks([0, 255], 5)
    masks[3, 2:5, 2:5] = 1
    path = write_tree("set", mask_set(masks, ["sky", "bird"]) | mask_set(masks[:1], part="val"))
    assert MaskFolder(path, "val", ignored=255).example(0)[1].unique().tolist() == [0, 255]
    assert recipe_for(str(path)).settings["loss.ignore"] == 255
    assert capsys.readouterr().err == ""
    load_material(Data(str(path), size=SIZE[1], stream=True), 0, ignored=255).refuse_unreadable()
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{path}: 5 masks in trainannot/ for train/, read by values: sky (0) " in line
    assert f"; 255, {100 * (masks == 255).mean():.1f} % of the pixels, has no class" in line


@pytest.mark.parametrize("seed", range(8))
def test_stated_values_are_read_as_the_classes_of_their_names(write_tree, seed):
    """The values are any, in any order, one more value may mean no class, and names are mapped to a model's classes."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 7))
    values = rng.choice(np.arange(count + 1, 256), count + 1, replace=False).tolist()
    *named, void = values
    masks = random_masks(values, seed=seed)
    classes = [f"{value}{' ' * int(rng.integers(2))}: name {k}" for k, value in enumerate(named)]
    path = write_tree("set", mask_set(masks, classes) | mask_set(masks[:2], part="test"))
    expected = np.select([masks == value for value in named], range(count), void)
    np.testing.assert_array_equal(loaded(path, ignored=void).y.numpy(), expected)
    names = [f"name {k}" for k in rng.permutation(count)]
    _, mask = MaskFolder(path, classes=names, ignored=void).example(3)
    mapped = np.select([masks[3] == value for value in named], [names.index(f"name {k}") for k in range(count)], void)
    np.testing.assert_array_equal(mask.numpy(), mapped)
    settings = recipe_for(str(path)).settings
    assert (settings["network.classes"], settings["loss.ignore"]) == (count, void)


VOID_ONLY = np.full((3, *SIZE), 255, np.uint8)
REFUSED = {
    "all void": (VOID_ONLY, None, "no pixel of the masks has a class; the masks have 1 value: 255 (no class); "),
    "all void, with names": (VOID_ONLY, ["a", "b"], "no pixel of the masks has a class; the masks have 1 value"),
    "one class": (random_masks([0]), ["sky", "bird"], "the masks have one class only"),
    "one class of three, and void": (
        random_masks([1, 255]), ["sky", "bird", "tree"],
        "the masks have one class only, and a training needs two, such as background and object; the masks have 2 "
        "values: 1 ('bird'), 255 (no class); ",
    ),
    "another value than 255": (random_masks([0, 128]), ["sky", "bird"], "trainannot/0.png has the value 128; state"),
    "gaps": (random_masks([0, 38, 75, 113]), ["sky", "bird", "tree", "hill"], "there are 4 classes, counted from 0"),
    "gaps, without names": (random_masks([0, 38, 75]), None, "most of the 76 classes, counted from 0, do not occur"),
    "counted from 1": (random_masks([1, 2, 3]), ["sky", "bird", "tree"], "the values of classes are counted from 0"),
    "a value without a name": (random_masks([0, 1, 2]), ["1: sky", "2: bird"], "the value 0 has no name"),
    "other stated values": (random_masks([0, 1, 2]), ["7: a", "9: b"], "there are 2 classes, with the values 7, 9"),
    "JPEG noise": (random_masks(range(200)), ["sky", "bird", "tree"], "save the original ones as PNG"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_values_that_are_no_classes_are_refused_with_the_values(write_tree, kind, capsys):
    masks, classes, message = REFUSED[kind]
    path = write_tree("set", mask_set(masks, classes) | mask_set(masks[:2], part="test"))
    assert main(["train", "segment", str(path)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    with pytest.raises(PellucidError):
        loaded(path)


@pytest.mark.parametrize("quality", [30, 75, 95, 100])
@pytest.mark.parametrize("classes", [None, ["sky", "bird", "tree"]])
def test_jpeg_masks_are_refused(write_tree, classes, quality):
    masks = np.repeat(np.repeat(random_masks([0, 1, 2], 3)[:, ::8, ::8], 8, 1), 8, 2)
    path = write_tree("set", mask_set(masks, classes, kind="JPEG", quality=quality))
    with pytest.raises(PellucidError, match=r"0\.jpg is a JPEG, whose compression changes the values of a mask; save"):
        recipe_for(str(path))
    with pytest.raises(PellucidError, match="is a JPEG"):
        MaskFolder(path).example(0)


@pytest.mark.parametrize(("values", "absent"), [([0, 1], "'tree'"), ([0, 2, 255], "'bird'"), ([1, 2], "'sky'")])
def test_classes_that_do_not_occur_are_named(write_tree, capsys, values, absent):
    masks = random_masks(values)
    path = write_tree("set", mask_set(masks, ["sky", "bird", "tree"]) | mask_set(masks, part="test"))
    loaded(path, ignored=255)
    recipe_for(str(path))
    text = f"pellucid: {path}: no pixel has {absent}; the masks have {len(values)} values: {values[0]} ("
    assert capsys.readouterr().err.count(text) == 1


def test_a_small_gap_between_values_without_names_is_noted(write_tree, capsys):
    path = write_tree("set", mask_set(random_masks([0, 1, 3])))
    assert recipe_for(str(path)).settings["network.classes"] == 4
    assert "no pixel has class 2; the masks have 3 values: 0 (class 0), 1 (class 1), 3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["0: sky", "bird"], "or in each line a value from 0 to 255 and a name"),
        (["0: sky", "256: bird"], "or in each line a value from 0 to 255 and a name"),
        (["0: sky", "0: bird"], "line 2: the value 0 stands twice; give each value once"),
        (["0: sky", "1: sky"], "line 2: the class 'sky' stands twice; give each name once"),
        (["sky", "sky"], "line 2: the class 'sky' stands twice; give each name once"),
        ([""], "one class name per line"),
    ],
)
def test_invalid_class_lists_are_refused(write_tree, lines, message):
    with pytest.raises(PellucidError, match=message):
        MaskFolder(write_tree("set", mask_set(random_masks([0, 1]), lines)))


def test_evaluation_refuses_masks_without_a_class_and_notes_a_single_one(write_tree, capsys):
    values = {0: 0, 1: 1}
    path = write_tree("set", mask_set(VOID_ONLY, ["sky", "bird"], "val"))
    with pytest.raises(PellucidError, match="no pixel of the masks has a class"):
        MaskFolder(path, "val", ignored=255).check_values(training=False)
    assert values == MaskFolder(path, "val").values
    path = write_tree("one", mask_set(random_masks([0, 255]), ["sky", "bird", "tree"], "val"))
    MaskFolder(path, "val", ignored=255).check_values(training=False)
    assert "no pixel has 'bird', 'tree'; the masks have 2 values: 0 ('sky'), 255 (no class)" in capsys.readouterr().err


def test_a_list_of_labelme_names_the_classes_after_its_ignored_label(write_tree):
    """labelme's __ignore__ has the value -1, which is 255 in a mask."""
    masks = random_masks([0, 1, 2, 255])
    files = mask_set(masks, ["__ignore__", "_background_", "bird", "tree"])
    path = write_tree("set", files | mask_set(masks, part="test"))
    data = loaded(path, ignored=255)
    assert data.classes == ("_background_", "bird", "tree")
    assert torch.equal(data.y, torch.from_numpy(masks))
    assert recipe_for(str(path)).settings["loss.ignore"] == 255
