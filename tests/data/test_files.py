"""Image files decoded on demand: pixels as decoded by Pillow, the order of the loader, errors for damaged files."""

import io
import os

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pellucid.base.errors import PellucidError
from pellucid.data import Augment, ImageFiles, ImageFolder, Loader, collate, load_folder
from pellucid.data.seeds import mix
from pellucid.data.tree import SAMPLE_BYTES, tree_at
from tests.data.pictures import picture_bytes

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (12, 5, 8, 3), dtype=np.uint8)
FILES = {}


def encode_image(array, kind="PNG", mode=None):
    out = io.BytesIO()
    Image.fromarray(array, mode).save(out, kind)
    return out.getvalue()


for k, pixels in enumerate(RGB):
    FILES[f"{'ab'[k % 2]}/{k:02}.{'png' if k < 6 else 'jpg'}"] = encode_image(pixels, "PNG" if k < 6 else "JPEG")
NAMES = sorted(FILES)


def pillow_pixels(data, size=None):
    image = Image.open(io.BytesIO(data)).convert("RGB")
    return np.asarray(image if size is None else image.resize(size[::-1], Image.Resampling.BILINEAR)).transpose(2, 0, 1)


@pytest.mark.parametrize("name", ["plain", "packed.zip"])
@pytest.mark.parametrize("size", [None, (6, 4)])
def test_an_epoch_has_pillows_pixels_in_the_order_drawn_from_the_seed(write_tree, name, size):
    source = ImageFolder(write_tree(name, FILES), size=size)
    assert (len(source), source.classes, source.labels.tolist()) == (12, ("a", "b"), [0] * 6 + [1] * 6)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(mix(5, 3))).tolist()
    batches = list(Loader(source, 5, seed=5, prefetch=3).epoch(3))
    images, labels = torch.cat([b.images for b in batches]), torch.cat([b.targets for b in batches])
    expected = np.stack([pillow_pixels(FILES[NAMES[k]], size) for k in order]).astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(images.numpy(), expected)
    assert labels.tolist() == ["ab".index(NAMES[k][0]) for k in order]


def test_the_repr_of_a_source_is_one_line(write_tree):
    path = write_tree("plain", FILES)
    assert repr(ImageFolder(path, size=(6, 4))) == f"<ImageFolder {str(path)!r:.60}: 12 images of 6x4, 2 classes>"


def test_names_that_are_not_utf8_are_streamed(tmp_path):
    folder = os.fsencode(tmp_path) + b"/caf\xe9\xff"
    os.makedirs(folder)
    checksums = set()
    for name in (b"\xff3.png", b"\xfe3.png"):
        with open(folder + b"/" + name, "wb") as file:
            file.write(FILES[NAMES[0]])
        source = ImageFolder(tmp_path)
        checksums.add(source.checksum)
        np.testing.assert_array_equal(source.batch([0], torch.Generator()).images[0], pillow_pixels(FILES[NAMES[0]]))
    assert len(checksums) == 2


def test_streamed_and_loaded_batches_are_equal_with_augmentation_and_from_any_start(write_tree):
    path, augment = write_tree("plain", FILES), Augment(rotate=20, flip=True)
    loaded = list(Loader(load_folder(path), 5, 1, augment).epoch(2))
    for start in range(4):
        streamed = list(Loader(ImageFolder(path), 5, 1, augment).epoch(2, start))
        assert len(streamed) == 3 - start
        for a, b in zip(loaded[start:], streamed, strict=True):
            assert torch.equal(a.images, b.images)
            assert torch.equal(a.targets, b.targets)


def test_splits_have_the_classes_of_the_training_split(write_tree):
    red = picture_bytes((255, 0, 0))
    path = write_tree("parts", {"train/cat/a.png": red, "train/dog/b.png": red, "val/dog/c.png": red})
    assert (ImageFolder(path, "val").classes, ImageFolder(path, "val").labels.tolist()) == (("cat", "dog"), [1])
    with pytest.raises(PellucidError, match="give part='train' to stream it"):
        ImageFolder(path)
    with pytest.raises(PellucidError, match="has no class folders"):
        ImageFolder(path, "test")
    unknown = write_tree("unknown", {"train/cat/a.png": red, "train/dog/b.png": red, "val/cow/c.png": red})
    with pytest.raises(PellucidError, match="is a class that is not in train/"):
        ImageFolder(unknown, "val")


def test_a_damaged_file_is_reported_when_read_or_is_skipped(write_tree):
    path = write_tree("bad", FILES | {"a/03.png": b"\x89PNG\r\n\x1a\n" + b"0" * 50})
    source = ImageFolder(path)
    assert len(source) == 13
    with pytest.raises(PellucidError, match=r"03\.png is damaged"):
        list(Loader(source, 5, seed=0).epoch(0))
    readable = ImageFolder(path, on_error="skip")
    assert (len(readable), readable.skipped) == (12, (str(path / "a/03.png"),))
    assert torch.cat([b.images for b in Loader(readable, 5, 0, shuffle=False).epoch(0)]).shape == (12, 3, 5, 8)
    with pytest.raises(PellucidError, match="unknown on_error 'ignore'"):
        ImageFolder(path, on_error="ignore")
    with pytest.raises(PellucidError, match="none of its 1 images can be read"):
        ImageFolder(write_tree("worse", {"a/1.png": b"1"}), on_error="skip")


@pytest.mark.parametrize("name", ["plain", "packed.zip"])
def test_the_checksum_depends_on_names_contents_and_format_and_not_on_times(write_tree, name):
    path = write_tree(name, FILES)
    first = ImageFolder(path).checksum
    os.utime(path, (1, 1))
    assert ImageFolder(path).checksum == first
    changed = FILES["a/00.png"][:-20] + bytes([FILES["a/00.png"][-20] ^ 1]) + FILES["a/00.png"][-19:]
    changed_sets = [FILES | {"a/00.png": changed}, FILES | {"a/99.png": FILES["a/00.png"]}]
    renamed = {name.replace("a/00", "b/00"): data for name, data in FILES.items()}
    checksums = {
        ImageFolder(write_tree(f"{k}{name}", files)).checksum for k, files in enumerate([*changed_sets, renamed])
    }
    checksums |= {ImageFolder(path, size=4).checksum, ImageFolder(path, mode="L").checksum}
    assert len(checksums | {first}) == 6


def test_the_fingerprint_of_a_large_file_covers_beginning_middle_and_end(write_tree):
    size = 10 * SAMPLE_BYTES
    data = RNG.bytes(size)
    fingerprints = {tree_at(write_tree("0", {"f": data})).fingerprint("f")}
    for position in (0, SAMPLE_BYTES - 1, size // 2, size - SAMPLE_BYTES, size - 1):
        edited = data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
        fingerprints.add(tree_at(write_tree(str(position + 1), {"f": edited})).fingerprint("f"))
    assert len(fingerprints) == 6


def test_a_user_defined_source_of_files_defines_only_its_examples(write_tree):
    class Names(ImageFiles):
        def example(self, k):
            return self.image(k), self.names[k]

    source = Names(tree_at(write_tree("plain", FILES)), NAMES)
    (batch,) = Loader(source, 12, 0, shuffle=False).epoch(0)
    assert batch.targets == NAMES
    assert torch.equal(batch.images[3], collate([source.example(3)]).images[0] / 255)


sizes = st.lists(st.tuples(st.integers(1, 7), st.integers(1, 7)), min_size=1, max_size=5)


@given(sizes=sizes, channels=st.integers(1, 3), seed=st.integers(0, 99))
def test_images_and_masks_are_padded_at_the_right_and_the_bottom(sizes, channels, seed):
    rng = np.random.default_rng(seed)
    images = [rng.integers(1, 256, (channels, *size), dtype=np.uint8) for size in sizes]
    masks = [rng.integers(0, 9, size) for size in sizes]
    pairs = [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in zip(images, masks, strict=True)]
    batch = collate(pairs, ignored=99)
    height, width = max(h for h, _ in sizes), max(w for _, w in sizes)
    assert batch.images.shape == (len(sizes), channels, height, width)
    assert (batch.images.dtype, batch.targets.dtype) == (torch.uint8, torch.int64)
    for row, (image, mask) in enumerate(zip(images, masks, strict=True)):
        for i in range(height):
            for j in range(width):
                inside = i < mask.shape[0] and j < mask.shape[1]
                assert int(batch.targets[row, i, j]) == (mask[i, j] if inside else 99)
                assert batch.images[row, :, i, j].tolist() == (image[:, i, j].tolist() if inside else [0] * channels)


def test_numeric_targets_become_a_tensor_and_lists_remain_lists():
    image = torch.zeros(1, 2, 2)
    assert collate([(image, 1), (image, 4)]).targets.tolist() == [1, 4]
    assert collate([(image, 1.5), (image, 4)]).targets.dtype is torch.float32
    boxes = [torch.zeros(3, 4), torch.zeros(0, 4)]
    assert collate([(image, boxes[0]), (image, boxes[1])]).targets == boxes
    assert collate([(image, {"name": "a"}), (image, {"name": "b"})]).targets == [{"name": "a"}, {"name": "b"}]


def test_padding_masks_requires_an_ignored_class():
    pairs = [(torch.zeros(1, h, 2), torch.zeros(h, 2, dtype=torch.int64)) for h in (2, 3)]
    with pytest.raises(PellucidError, match="give the class `ignored` that the loss ignores"):
        collate(pairs)
