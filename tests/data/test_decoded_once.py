"""With data.skip, the files of streamed data are decoded once before a training, and are still checked."""

import io
import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from pellucid.base.errors import PellucidError
from pellucid.base.text import note_first_time
from pellucid.data import images
from pellucid.recipe.material import load_material
from pellucid.recipe.tables import Data

COUNT = 24  # images of each part


def picture(k, scale=1):
    """Return the file of a noise image; scale: of its values, for an image of 16 bits."""
    values = np.random.default_rng(k).integers(0, 256, (8, 12))
    out = io.BytesIO()
    Image.fromarray(values.astype(np.uint8) if scale == 1 else (values * scale).astype(np.uint16)).save(out, "PNG")
    return out.getvalue()


def mask(k, classes=2):
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(k).integers(0, classes, (8, 12), dtype=np.uint8)).save(out, "PNG")
    return out.getvalue()


def class_files(scale=1):
    return {f"{part}/{'ab'[k % 2]}/{k}.png": picture(k, scale) for part in ("train", "test") for k in range(COUNT)}


def mask_files(scale=1, classes=2):
    files = {}
    for part in ("train", "test"):
        for k in range(COUNT):
            files[f"{part}/{k}.png"] = picture(k, scale)
            files[f"{part}annot/{k}.png"] = mask(k, classes)
    return files


def object_files(scale=1):
    shape = {"label": "cat", "shape_type": "rectangle", "points": [[2, 2], [7, 6]]}
    files = {}
    for k in range(COUNT):
        size = {"imageWidth": 12, "imageHeight": 8}
        files[f"{k}.json"] = json.dumps({"imagePath": f"{k}.png", "shapes": [shape], **size}).encode()
        files[f"{k}.png"] = picture(k, scale)
    return files


KINDS = {"classes": class_files, "masks": mask_files, "objects": object_files}


@pytest.fixture
def decoded(monkeypatch):
    """Return how many times the images of each name were decoded."""
    counts = Counter()
    original = images.decode_array

    def count(data, name, *args):
        counts[name] += 1
        return original(data, name, *args)

    note_first_time.cache_clear()
    monkeypatch.setattr(images, "decode_array", count)
    return counts


def material(path, kind):
    stream = kind != "objects"
    return load_material(Data(str(path), size=8, stream=stream, skip=True, validation=0.2), 0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_damaged", [0, 1, 2])
def test_files_that_were_checked_on_creation_are_not_decoded_again(write_tree, decoded, kind, n_damaged):
    files = KINDS[kind]()
    damaged = [name for name in files if name.endswith(".png") and "annot" not in name][1 : 1 + n_damaged]
    path = write_tree("set", files | dict.fromkeys(damaged, b"damaged"))
    parts = material(path, kind)
    before = Counter({name: count for name, count in decoded.items() if "annot" not in name})
    parts.refuse_unreadable()
    after = Counter({name: count for name, count in decoded.items() if "annot" not in name})
    assert before
    assert before == after


@pytest.mark.parametrize("kind", KINDS)
def test_dark_images_of_16_bits_are_still_refused(write_tree, kind):
    parts = material(write_tree("set", KINDS[kind](scale=8)), kind)
    with pytest.raises(PellucidError, match="the images of 16 bits have values of at most"):
        parts.refuse_unreadable()


def test_masks_of_one_class_are_still_refused(write_tree):
    parts = material(write_tree("set", mask_files(classes=1)), "masks")
    with pytest.raises(PellucidError, match="the masks have one class only"):
        parts.refuse_unreadable()
