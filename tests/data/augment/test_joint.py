"""Joint augmentation of images and targets: equal draws, moved and dropped objects, and invalid input."""

from dataclasses import fields

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.base.errors import PellucidError
from pellucid.data import Arrays, Augment, Loader, Objects
from pellucid.data.augment.targets import move_objects, tight_boxes
from pellucid.data.augment.windows import Flip, Window
from pellucid.data.seeds import generator
from pellucid.data.source import Batch
from pellucid.recipe.recipe import read_recipe

H, W = 48, 64
seeds = st.integers(0, 10**6)
EVERYTHING = Augment(
    rotate=15, shift=0.1, shear=10, zoom=0.2, flip=True, vertical_flip=True, brightness=0.2, contrast=0.2,
    saturation=0.2, hue=0.1, elastic_alpha=20, elastic_sigma=4, crop_padding=2, cutout=5, scale=(0.5, 2.0),
    crop_size=(30, 40), mosaic=0.5, swaps=(), transpose=True,
)  # fmt: skip


def rectangle_batch(seed: int, n: int = 3, count: int = 3, masks: bool = False) -> Batch:
    """Return images of filled rectangles that do not overlap, each with its own grey value and label."""
    rng = generator(seed)
    images, targets = torch.zeros(n, 1, H, W), []
    for k in range(n):
        boxes = []
        for slot in range(count):  # one rectangle in each column of the image
            slot_width = W // count
            w = int(torch.randint(6, slot_width - 2, (), generator=rng))
            h = int(torch.randint(6, H - 8, (), generator=rng))
            x = slot * slot_width + int(torch.randint(0, slot_width - w, (), generator=rng))
            y = int(torch.randint(0, H - h, (), generator=rng))
            boxes.append([x, y, x + w, y + h])
            images[k, :, y : y + h, x : x + w] = k * count + slot + 1
        labels = torch.arange(count) + k * count + 1
        shapes = (images[k] == labels[:, None, None]) if masks else None
        targets.append(Objects(torch.tensor(boxes, dtype=torch.float32), labels, shapes))
    return Batch(images, targets)


def label_mask_batch(batch: Batch) -> Batch:
    return Batch(batch.images, batch.images[:, 0].long())


@pytest.mark.parametrize("fill", ["constant", "nearest", "reflect", "wrap"])
def test_images_are_augmented_equally_with_and_without_targets(fill):
    augment = Augment(**{field.name: getattr(EVERYTHING, field.name) for field in fields(Augment)} | {"fill": fill})
    images = torch.rand(4, 3, H, W, generator=generator(0))
    expected = augment(images, generator(1))
    assert expected.shape == (4, 3, 30, 40)
    for targets in (rectangle_batch(2, 4).targets, torch.zeros(4, H, W, dtype=torch.uint8), torch.rand(4, 2, H, W)):
        augmented = augment(Batch(images, targets), generator(1))
        assert torch.equal(augmented.images, expected)
        repeated = augment(Batch(images, targets), generator(1))
        if isinstance(targets, torch.Tensor):
            assert augmented.targets.shape[-2:] == (30, 40)
            assert torch.equal(augmented.targets, repeated.targets)
        else:
            assert all(torch.equal(a.boxes, b.boxes) for a, b in zip(augmented.targets, repeated.targets, strict=True))


def test_arguments_are_unchanged():
    batch = rectangle_batch(3, masks=True)
    images, boxes = batch.images.clone(), [target.boxes.clone() for target in batch.targets]
    points = [torch.ones(3, 2, 3) for _ in boxes]
    targets = [Objects(one.boxes, one.labels, one.masks, p) for one, p in zip(batch.targets, points, strict=True)]
    augment = Augment(rotate=30, flip=True, crop_padding=4, mosaic=1, elastic_alpha=20, swaps=((0, 1),))
    augment(Batch(batch.images, targets), generator(0))
    assert torch.equal(batch.images, images)
    assert all(torch.equal(one.boxes, original) for one, original in zip(batch.targets, boxes, strict=True))
    assert all(bool((p == 1).all()) for p in points)


def test_colour_transforms_change_only_images():
    batch = label_mask_batch(Batch(torch.rand(3, 3, H, W, generator=generator(4)) * 0.9, None))
    augmented = Augment(brightness=0.5, contrast=0.5, saturation=0.5, hue=0.3, cutout=9)(batch, generator(0))
    assert augmented.targets is batch.targets
    assert not torch.equal(augmented.images, batch.images)


def test_target_images_are_transformed_as_input_images():
    images = torch.rand(3, 3, H, W, generator=generator(5))
    augment = Augment(rotate=20, flip=True, elastic_alpha=20, crop_size=(30, 30), fill="reflect")
    augmented = augment(Batch(images, 1 - images), generator(0))
    torch.testing.assert_close(augmented.targets, 1 - augmented.images, atol=1e-5, rtol=0)


def test_class_and_regression_targets_are_unchanged():
    images = torch.rand(3, 1, H, W)
    for targets in (torch.tensor([1, 2, 3]), torch.rand(3, 10)):
        augmented = Augment(rotate=20, flip=True)(Batch(images, targets), generator(0))
        assert torch.equal(augmented.targets, targets)


def test_masks_have_the_ignored_class_outside_of_the_image():
    batch = Batch(torch.ones(20, 1, H, W), torch.ones(20, H, W, dtype=torch.int64))
    for ignore in (255, -100):
        augment = Augment(scale=(0.5, 0.7), crop_size=(40, 50), flip=True, ignore=ignore)
        augmented = augment(batch, generator(0))
        assert augmented.targets.unique().tolist() == sorted([1, ignore])
        inside = augmented.images[:, 0] > 0.5
        assert (inside == (augmented.targets == 1)).float().mean() > 0.999
    assert Augment(shift=0.3, fill="nearest")(batch, generator(0)).targets.unique().tolist() == [1]


@settings(max_examples=40, deadline=None)
@given(
    seeds, st.sampled_from(["flip", "transpose", "shift", "scale", "crop_padding", "crop_size", "all"]), st.booleans()
)
def test_boxes_stay_on_drawn_rectangles(seed, kind, masks):
    """Without rotation and shear, a box and the extent of its object's pixels differ by at most one pixel."""
    augment = {
        "flip": Augment(flip=True, vertical_flip=True, min_area=0),
        "transpose": Augment(flip=True, transpose=True, min_area=0),
        "shift": Augment(shift=0.3, min_area=0),
        "scale": Augment(scale=(0.5, 2.0), min_area=0),
        "crop_padding": Augment(crop_padding=12, min_area=0),
        "crop_size": Augment(crop_size=(32, 80), min_area=0),
        "all": Augment(flip=True, crop_padding=9, zoom=0.3, scale=(0.6, 1.4), crop_size=(40, 50), min_area=0),
    }[kind]
    batch = rectangle_batch(seed, masks=masks)
    result, pixels = augment(batch, generator(seed)), augment(label_mask_batch(batch), generator(seed)).targets
    assert sum(map(len, result.targets)) > 0
    for k, objects in enumerate(result.targets):
        for label, box in zip(objects.labels, objects.boxes, strict=True):
            is_object = pixels[k] == label
            if int(is_object.sum()) == 0:  # less than one pixel of the object is left
                assert float((box[2:] - box[:2]).min()) < 1
                continue
            exact = tight_boxes(is_object[None])[0]
            assert float((box - exact).abs().max()) <= (1e-4 if masks else 1.0)
        missing = set(pixels[k].unique().tolist()) - {0, 255} - set(objects.labels.tolist())
        assert not missing


@pytest.mark.parametrize(
    ("augment", "bound"),
    [
        (Augment(rotate=180, zoom=0.1, min_area=0), 1.0),
        (Augment(rotate=40, shear=15, zoom=0.1, min_area=0), 1.2),  # acute corners contain fewer pixel centres
        (Augment(elastic_alpha=34, elastic_sigma=4, min_area=0), 1.5),
        (Augment(elastic_alpha=60, elastic_sigma=5, rotate=20, scale=(0.8, 1.2), min_area=0), 1.5),
    ],
)
def test_boxes_enclose_rotated_and_deformed_rectangles_tightly(augment, bound):
    """Inside the image, the box of the transformed corners and sides equals the tight box of the transformed pixels."""
    compared = 0
    for seed in range(40):
        batch = rectangle_batch(seed)
        result, pixels = augment(batch, generator(seed)), augment(label_mask_batch(batch), generator(seed)).targets
        for k, objects in enumerate(result.targets):
            for label, box in zip(objects.labels, objects.boxes, strict=True):
                is_object = pixels[k] == label
                if not bool(is_object.any()):
                    continue
                exact = tight_boxes(is_object[None])[0]
                assert bool((box[:2] <= exact[:2] + bound).all())
                assert bool((box[2:] >= exact[2:] - bound).all())
                if float(box[:2].min()) > 0 and float(box[2]) < W and float(box[3]) < H:
                    assert float((box - exact).abs().max()) <= bound
                    compared += 1
    assert compared > 150


def test_a_box_with_a_mask_is_the_box_of_its_mask():
    """The box of a rotated disc is unchanged; the rotated corners of its box enclose a larger box."""
    v, u = torch.meshgrid(torch.arange(H) + 0.5, torch.arange(W) + 0.5, indexing="ij")
    disc = ((u - 32) ** 2 + (v - 24) ** 2 < 15**2)[None]
    box, label = tight_boxes(disc), torch.tensor([1])
    assert box.tolist() == [[17, 9, 47, 39]]
    images = disc[None].float()
    augmented = Augment(rotate=60)(Batch(images, [Objects(box, label, disc)]), generator(0)).targets[0]
    assert float((augmented.boxes - box).abs().max()) <= 1
    plain = Augment(rotate=60)(Batch(images, [Objects(box, label)]), generator(0)).targets[0]
    assert float((plain.boxes - box).abs().max()) > 3
    assert augmented.masks is not None
    assert int(augmented.masks.sum()) == pytest.approx(int(disc.sum()), rel=0.03)


def test_objects_that_are_cut_too_far_are_dropped():
    """The window leaves 75, 50 and 0 per cent of the areas of these boxes."""
    boxes = torch.tensor([[10.0, 0, 20, 20], [0, 10, 10, 20], [0, 0, 4, 50]])
    window = Window((40, 40), torch.tensor([[5, 5]]))
    for min_area, remaining_labels in ((0.0, [0, 1]), (0.4, [0, 1]), (0.51, [0]), (0.75, [0]), (0.76, [])):
        (result,) = move_objects([Objects(boxes, torch.arange(3))], [window], (50, 50), (), min_area)
        assert result.labels.tolist() == remaining_labels
    (result,) = move_objects([Objects(boxes, torch.arange(3))], [window], (50, 50), (), 0.1)
    assert result.boxes.tolist() == [[5, 0, 15, 15], [0, 5, 5, 15]]


def test_min_area_applies_to_the_area_after_all_transforms():
    """The first window leaves half of the object and the second half of that: a quarter, below 0.3."""
    windows = [Window((40, 40), torch.tensor([[0, 10]])), Window((40, 5), torch.tensor([[0, 0]]))]
    objects = Objects(torch.tensor([[0.0, 0, 20, 20]]), torch.tensor([1]))
    (result,) = move_objects([objects], windows, (40, 40), (), 0.3)
    assert len(result) == 0
    (result,) = move_objects([objects], windows, (40, 40), (), 0.25)
    assert result.boxes.tolist() == [[0, 0, 5, 20]]


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_key_points_stay_on_drawn_dots(seed):
    """Every visible key-point lies in the square drawn for it, or for its partner in a mirrored image."""
    rng = generator(seed)
    images, points = torch.zeros(4, 1, H, W), torch.zeros(4, 1, 4, 3)
    for k in range(4):
        for slot in range(4):
            x, y = (
                16 * slot + int(torch.randint(3, 13, (), generator=rng)),
                int(torch.randint(4, 44, (), generator=rng)),
            )
            images[k, 0, y - 3 : y + 3, x - 3 : x + 3] = slot + 1
            points[k, 0, slot] = torch.tensor([x, y, 2.0])
    box, label = torch.tensor([[0.0, 0, W, H]]), torch.tensor([1])
    targets = [Objects(box, label, keypoints=point) for point in points]
    is_flipped = torch.rand(4, generator=rng) < 0.5
    flip = Flip((H, W), is_flipped[:, None, None, None], 3)
    augment = Augment(rotate=40, shear=10, scale=(0.8, 1.4), crop_size=(40, 60), elastic_alpha=20, min_area=0)
    moved = move_objects(targets, [flip], (H, W), ((0, 3),), 0)
    augmented = augment(Batch(flip.apply(images, "constant", 0), moved), generator(seed))
    pixels = augment(label_mask_batch(Batch(flip.apply(images, "constant", 0), None)), generator(seed)).targets
    order = {True: [4, 2, 3, 1], False: [1, 2, 3, 4]}
    for k, objects in enumerate(augmented.targets):
        if not len(objects):
            continue
        for slot, (x, y, visibility) in enumerate(objects.keypoints[0].tolist()):
            if visibility:
                assert visibility == 2
                row, column = min(int(y), 39), min(int(x), 59)
                assert int(pixels[k, row, column]) == order[bool(is_flipped[k])][slot]
            else:
                assert (x, y) == (0, 0)


def test_key_points_follow_the_coco_conventions():
    """Hidden points remain hidden, unlabelled points remain 0, points outside the image become unlabelled."""
    points = torch.tensor([[[20.0, 10, 2], [30, 12, 1], [0, 0, 0], [3, 10, 2], [60, 10, 1]]])
    objects = Objects(torch.tensor([[10.0, 5, 50, 40]]), torch.tensor([1]), keypoints=points)
    window = Window((40, 45), torch.tensor([[2, 10]]))
    (result,) = move_objects([objects], [window], (H, W), ((0, 1),), 0.1)
    assert result.keypoints is not None
    assert result.keypoints.tolist() == [[[10, 8, 2], [20, 10, 1], [0, 0, 0], [0, 0, 0], [0, 0, 0]]]


def test_left_and_right_key_points_are_exchanged_in_mirror_images():
    points = torch.tensor([[[1.0, 2, 2], [11, 12, 1], [21, 22, 2], [0, 0, 0]]])
    objects = [Objects(torch.tensor([[0.0, 0, 30, 30]]), torch.tensor([1]), keypoints=points) for _ in range(2)]
    is_flipped = torch.tensor([True, False])[:, None, None, None]
    horizontal, vertical = Flip((H, W), is_flipped, 3), Flip((H, W), is_flipped, 2)
    mirrored, unchanged = move_objects(objects, [horizontal], (H, W), ((0, 1),), 0.1)
    assert mirrored.keypoints is not None
    assert mirrored.keypoints.tolist() == [[[53, 12, 1], [63, 2, 2], [43, 22, 2], [0, 0, 0]]]
    assert mirrored.boxes.tolist() == [[34, 0, 64, 30]]
    assert unchanged.keypoints is not None
    assert torch.equal(unchanged.keypoints, points)
    rotated, _ = move_objects(
        objects, [horizontal, vertical], (H, W), ((0, 1),), 0.1
    )  # a rotation by 180 degrees, not a mirror image
    assert rotated.keypoints is not None
    assert rotated.keypoints.tolist() == [[[63, 46, 2], [53, 36, 1], [43, 26, 2], [0, 0, 0]]]
    assert torch.equal(move_objects([rotated] * 2, [horizontal, vertical], (H, W), ((0, 1),), 0)[0].keypoints, points)


def test_images_without_objects_are_augmented():
    batch = rectangle_batch(0)
    no_objects = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0, H, W, dtype=torch.bool))
    augment = Augment(rotate=20, flip=True, elastic_alpha=10, mosaic=1.0, crop_size=(20, 20))
    augmented = augment(Batch(batch.images, [no_objects] * 3), generator(0))
    assert [len(target) for target in augmented.targets] == [0, 0, 0]
    assert augmented.targets[0].boxes.shape == (0, 4)
    assert augmented.targets[0].masks.shape == (0, 20, 20)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale": (2, 1)}, r"augment.scale is \(2, 1\); give the smallest and the largest factor"),
        ({"scale": (0, 1)}, "from 0.01 to 100"),
        ({"scale": 1.5}, "augment.scale is 1.5; give"),
        ({"crop_size": (0, 5)}, r"augment.crop_size is \(0, 5\); give \(height, width\) from 1"),
        ({"crop_size": 224}, "augment.crop_size is 224; give"),
        ({"crop_size": (9.5, 3)}, r"crop_size is \(9.5, 3\)"),
        ({"swaps": ((1, 2, 3),)}, r"augment.swaps is \(\(1, 2, 3\),\); give pairs of key-points"),
        ({"swaps": (1, 2)}, "give pairs"),
        ({"swaps": ((1, 1),)}, "each in one pair"),
        ({"swaps": ((1, 2), (2, 3))}, "each in one pair"),
        ({"swaps": ((-1, 2),)}, "counted from 0"),
        ({"mosaic": 2.0}, "augment.mosaic is 2.0; give a number from 0 to 1"),
        ({"min_area": -0.1}, "augment.min_area is -0.1; give a number from 0 to 1"),
    ],
)
def test_invalid_settings_are_refused(settings, message):
    with pytest.raises(PellucidError, match=message) as info:
        Augment(**settings)
    assert "\n" not in str(info.value)


IMAGES = torch.zeros(2, 1, 8, 9)
BOX, LABEL = torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([1])
POINTS = [Objects(BOX, LABEL, keypoints=torch.ones(1, 3, 3))] * 2


@pytest.mark.parametrize(
    ("augment", "targets", "message"),
    [
        (Augment(flip=True), torch.zeros(2, 9, 8, dtype=torch.uint8), "images are 8x9, but their masks are 9x8; give"),
        (Augment(flip=True), torch.zeros(2, 3, 4, 9), "images are 8x9, but their target images are 4x9; give both"),
        (Augment(flip=True), torch.zeros(3, 8, 9, dtype=torch.uint8), "2 images, but 3 targets; give one per image"),
        (Augment(flip=True), torch.zeros(2, 8, 9), r"targets are float32 of shape \(2, 8, 9\); give classes"),
        (Augment(flip=True), torch.zeros(2, 3, 8, 9, dtype=torch.uint8), "targets are uint8 of shape"),
        (Augment(flip=True), [1, 2], r"targets are \[1, 2\]; give classes"),
        (Augment(flip=True), POINTS[:1], "2 images, but 1 targets; give one per image"),
        (Augment(flip=True), POINTS, "augment.swaps is missing, but mirroring exchanges left and right"),
        (Augment(flip=True, swaps=((1, 3),)), POINTS, r"swaps is \(\(1, 3\),\), but .* image 0 have 3 key-points"),
        (Augment(shift=0.1, ignore=-1), torch.zeros(2, 8, 9, dtype=torch.uint8), r"ignore is -1, .* for uint8 masks"),
        (Augment(elastic_alpha=34, elastic_sigma=3), POINTS, "elastic_alpha is 34, which with elastic_sigma 3 folds"),
        (Augment(mosaic=0.5), torch.tensor([1, 2]), "a mosaic of four images cannot have one class"),
        (Augment(mosaic=0.5), torch.ones(2, 4, 3), "a mosaic of four images cannot have key-points of one object"),
        (
            Augment(flip=True),
            torch.ones(2, 4, 3),
            "augment.swaps is missing, but mirroring exchanges left and right",
        ),
        (Augment(flip=True, swaps=((1, 4),)), torch.ones(2, 4, 3), r"\(\(1, 4\),\), but the images have 4 key-points"),
        (
            Augment(flip=True),
            [Objects(BOX, LABEL), Objects(BOX, LABEL, torch.ones(1, 4, 4, dtype=torch.bool))],
            "image 1 is 8x9, but the masks of its objects are 4x4",
        ),
    ],
)
def test_targets_that_do_not_fit_are_refused_in_one_line(augment, targets, message):
    with pytest.raises(PellucidError, match=message) as info:
        augment(Batch(IMAGES, targets), generator(0))
    assert "\n" not in str(info.value)


def test_recipes_have_all_augmentation_settings():
    table = {"scale": [0.75, 1.5], "crop_size": [288, 384], "swaps": [[1, 2], [3, 4]], "mosaic": 0.5, "ignore": 11}
    recipe = read_recipe({"augment": table, "network": {"sizes": [4, 2]}}, "recipe.toml", {})
    assert recipe.augment == Augment(
        scale=(0.75, 1.5), crop_size=(288, 384), swaps=((1, 2), (3, 4)), mosaic=0.5, ignore=11
    )
    assert "swaps = [[1, 2], [3, 4]]" in recipe.to_toml()
    assert 'swaps = "none"' in read_recipe({"network": {"sizes": [4, 2]}}, "recipe.toml", {}).to_toml()


def test_the_loader_augments_images_and_masks_together():
    """Images and masks of a batch have the same crops, which are repeated when the epoch is repeated."""
    x = torch.randint(0, 200, (10, 1, H, W), generator=generator(8), dtype=torch.uint8)
    augment = Augment(crop_size=(32, 24), flip=True)
    loader = Loader(Arrays(x, x[:, 0].long()), 5, seed=3, augment=augment)
    first, repeated = list(loader.epoch(0)), list(loader.epoch(0))
    assert len(first) == 2
    for batch, same in zip(first, repeated, strict=True):
        assert batch.images.shape == (5, 1, 32, 24)
        assert torch.equal((batch.images[:, 0] * 255).round().long(), batch.targets)
        assert torch.equal(batch.targets, same.targets)
