"""Near duplicates: modified copies of photos are found, and no other pairs."""

import hashlib
import io
import random
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pellucid.base.errors import PellucidError
from pellucid.data.quality import DisjointSets, SimilarPair, duplicates, exact_duplicates, near_duplicates
from pellucid.data.quality.duplicates import aligned_correlations
from tests.data.quality.photos import COPIES, crop_edges, photo, thumbnail

PHOTOS = 40


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    return [photo(seed) for seed in range(PHOTOS)]


def pairs_of(images: list[Image.Image]) -> set[tuple[int, int]]:
    return {(pair.first, pair.second) for pair in near_duplicates(torch.stack([thumbnail(image) for image in images]))}


def test_different_photos_are_not_duplicates(photos):
    assert pairs_of(photos) == set()


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_is_found(photos, kind):
    copies = [COPIES[kind](image) for image in photos]
    assert pairs_of([*photos, *copies]) == {(i, PHOTOS + i) for i in range(PHOTOS)}


def test_a_mirrored_copy_is_not_a_duplicate(photos):
    assert pairs_of([*photos, *(ImageOps.mirror(image) for image in photos)]) == set()


def test_each_copy_of_one_photo_has_one_pair(photos):
    images = [*photos[:3], *(make(photos[1]) for make in COPIES.values())]
    pairs = pairs_of(images)
    assert {i for pair in pairs for i in pair} == {1, *range(3, 3 + len(COPIES))}
    assert len(pairs) == len(COPIES)


def test_noisy_frames_of_one_scene_are_duplicates():
    rng = np.random.default_rng(0)
    base = np.asarray(photo(5), np.float64)
    frames = [Image.fromarray(np.clip(base + rng.normal(0, 6, base.shape), 0, 255).astype(np.uint8)) for _ in range(30)]
    assert len(pairs_of(frames)) == 29


@pytest.mark.slow
def test_frames_of_one_background_are_not_aligned_in_all_pairs(monkeypatch):
    """400 similar frames with a square at random positions, and a rotated copy of one frame: few pairs are aligned."""
    rng = np.random.default_rng(0)
    room = np.asarray(photo(5).resize((64, 64)).convert("L"), np.float64)
    frames = []
    for _ in range(400):
        frame = room.copy()
        x, y = rng.integers(2, 52, 2)
        frame[y : y + 10, x : x + 10] = np.kron(rng.choice([0, 255], (2, 2)), np.ones((5, 5)))
        frames.append(torch.from_numpy(frame.astype(np.uint8)))
    frames.append(torch.from_numpy(np.array(Image.fromarray(frames[7].numpy()).rotate(1.5, Image.Resampling.BILINEAR))))
    alignment_counts: list[int] = []
    exceeds = duplicates.aligned_correlations

    def count_alignments(a, b, thresholds):
        alignment_counts.append(len(a))
        return exceeds(a, b, thresholds)

    monkeypatch.setattr(duplicates, "aligned_correlations", count_alignments)
    progress: list[tuple[int, int]] = []
    result = near_duplicates(torch.stack(frames), lambda *done: progress.append(done))
    assert (7, 400) in {(pair.first, pair.second) for pair in result}
    assert sum(alignment_counts) <= 16 * len(frames)
    assert len(progress) > 2
    assert progress[-1][0] == progress[-1][1]


def test_near_duplicates_have_high_similarity_and_uniform_pictures_are_skipped(photos):
    blank = [Image.new("L", (50, 50), shade) for shade in (0, 0, 128)]
    grey = torch.stack([thumbnail(image) for image in (photos[0], crop_edges(photos[0], 0.02), *blank)])
    (pair,) = near_duplicates(grey)
    assert (pair.first, pair.second) == (0, 1)
    assert 0.97 <= pair.similarity <= 1.0 + 1e-6


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_pictures_have_no_duplicates(n):
    assert near_duplicates(torch.stack([thumbnail(photo(i)) for i in range(3)])[:n]) == []


def test_pictures_of_different_shapes_are_refused():
    with pytest.raises(PellucidError, match=r"shape \(2, 32, 32\); give \(N, 64, 64\)"):
        near_duplicates(torch.zeros(2, 32, 32))


def test_repeated_digests_are_paired_with_their_first_occurrence():
    digests = [hashlib.sha256(text).digest() for text in (b"a", b"b", b"a", b"c", b"b", b"a")]
    assert exact_duplicates(digests) == [SimilarPair(0, 2, 1.0), SimilarPair(1, 4, 1.0), SimilarPair(0, 5, 1.0)]


@pytest.mark.real
def test_copies_of_hand_photos_are_found_and_hands_of_different_people_are_not(real_data):
    files = sorted(real_data("signs").glob("*/*/*.jpg"))
    images = [Image.open(file).convert("RGB") for file in files]
    copied_indices = random.Random(0).sample(range(len(images)), 60)
    kinds = list(COPIES)
    copies = [COPIES[kinds[k % len(kinds)]](images[i]) for k, i in enumerate(copied_indices)]
    pairs = pairs_of([*images, *copies])
    expected = {(i, len(images) + k) for k, i in enumerate(copied_indices)}
    assert pairs <= expected, "no false alarm"
    assert len(pairs) >= 58


@pytest.mark.real
def test_a_car_that_cifar10_contains_three_times_is_found(real_data):
    """CIFAR-10 has such copies in both splits; see Barz, Denzler 2020, "Do We Train on Test Data?"."""
    names = [f"train/automobile/{name}.jpg" for name in ("3974", "4844")] + ["test/automobile/0974.jpg"]
    with zipfile.ZipFile(real_data("cifar10/cifar10.zip")) as archive:
        others = [name for name in archive.namelist() if name.startswith("test/truck/0")]
        images = [Image.open(io.BytesIO(archive.read(name))) for name in (*names, *others[:200])]
    pairs = pairs_of(images)
    assert {i for pair in pairs if max(pair) < 3 for i in pair} == {0, 1, 2}


NO_THRESHOLDS = (-1.0, -1.0, -1.0)  # correlations below which the alignment of a pair stops early; these never stop it


def affine_crop(image: Image.Image, scale: float, dx: float, dy: float) -> Image.Image:
    """Return a crop of the picture by Pillow: scaled by `scale`, shifted by fractions of width and height."""
    w, h = image.size
    return image.transform(
        (w, h), Image.Transform.AFFINE, (scale, 0, dx * w, 0, scale, dy * h), Image.Resampling.BICUBIC
    )


def correlation(a, b) -> float:
    return float(np.corrcoef(a.numpy().ravel(), b.numpy().ravel())[0, 1])


@pytest.mark.parametrize(("scale", "dx", "dy"), [(0.9, 0.05, 0.05), (0.95, 0, 0.05), (0.92, 0.08, 0), (0.9, 0, 0)])
def test_cut_and_shifted_photos_are_aligned(scale, dx, dy):
    image = photo(3)
    a, b = thumbnail(affine_crop(image, scale, dx, dy)), thumbnail(image)
    value = float(aligned_correlations(a[None], b[None], NO_THRESHOLDS)[0])
    assert value > 0.98
    assert value > correlation(a, b) + 0.05, "as they lie, they fit less"


def test_gain_and_offset_do_not_change_the_similarity():
    a = thumbnail(photo(4)).float()
    assert float(aligned_correlations(a[None], (0.5 * a + 30)[None], NO_THRESHOLDS)[0]) == pytest.approx(1, abs=1e-3)


def test_different_photos_below_the_thresholds_have_similarity_0():
    a, b = (torch.stack([thumbnail(photo(seed)) for seed in seeds]) for seeds in (range(0, 8), range(8, 16)))
    assert float(aligned_correlations(a, b, NO_THRESHOLDS).max()) < 0.9
    assert aligned_correlations(a, b, (0.9, 0.94, 0.97)).tolist() == [0.0] * 8


def test_the_similarity_of_a_pair_does_not_depend_on_other_pairs():
    a, b = (
        torch.stack([thumbnail(photo(0)), thumbnail(photo(1))]),
        torch.stack([thumbnail(photo(0)), thumbnail(photo(2))]),
    )
    together = aligned_correlations(a, b, (0.9, 0.94, 0.97))
    assert float(together[0]) > 0.999
    assert float(together[1]) == 0
    assert len(aligned_correlations(a[:0], b[:0], NO_THRESHOLDS)) == 0


N = 12
PAIRS = st.lists(st.tuples(st.integers(0, N - 1), st.integers(0, N - 1)), max_size=20)


@given(PAIRS)
def test_groups_are_the_connected_components(pairs):
    groups = DisjointSets(N)
    new = [groups.join(i, j) for i, j in pairs]
    i, j = np.array(pairs, int).reshape(-1, 2).T
    count, label = connected_components(coo_array((np.ones(len(i)), (i, j)), (N, N)), directed=False)
    assert all(groups.joined(a, b) == (label[a] == label[b]) for a in range(N) for b in range(N))
    assert [groups.first(a) for a in range(N)] == [int(np.argmax(label == label[a])) for a in range(N)]
    assert N - sum(new) == count
