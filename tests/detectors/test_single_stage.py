"""The default detector: losses and gradients compared with autograd, training, and files."""

import pytest
import torch

from pellucid import AdamW, Augment, Model
from pellucid.base.errors import PellucidError
from pellucid.data import Batch
from pellucid.layers.base import Mode
from pellucid.ops.assign import assign_atss
from pellucid.ops.boxes import box_iou
from pellucid.ops.image_objects import Objects
from tests.detectors.drawn import Rectangles, small_single_stage
from tests.detectors.reference import box_at, iou_and_giou, quality_focal, reference_gradients
from tests.oracle import assert_close, leaves, randomized
from tests.training.small import StopAt, Stopped


def random_batch(count=4, size=(33, 46)):
    """Return a float64 batch whose image sides are not multiples of the strides; the last image has no objects."""
    batch = Rectangles(count, size).batch(range(count), None)
    noise = torch.rand(batch.images.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return Batch(batch.images.double() / 255 + noise, batch.targets)


def random_params(detector, shape=(3, 33, 46)):
    rng = torch.Generator().manual_seed(0)
    return randomized(detector.init(shape, rng)[0], rng)


def reference_losses(detector, batch):
    """Return a function from outputs to the losses, computed anchor by anchor."""

    def losses(y, sizes):
        anchors = detector.anchors([tuple(size) for size in sizes]).double()
        counts = [height * width for height, width in sizes]
        score_loss, box_loss, count = 0.0, y.new_zeros(()), 0
        for outputs, objects in zip(y, batch.targets, strict=True):
            assignment = assign_atss(anchors, counts, objects.boxes.double(), crowd=objects.crowd)
            scored_mask = assignment.positive | assignment.negative
            quality = torch.zeros(len(anchors), detector.classes, dtype=torch.float64)
            for anchor in assignment.positive.nonzero()[:, 0].tolist():
                index = int(assignment.matched[anchor])
                decoded = box_at(outputs[anchor, detector.classes :], anchors[anchor])
                iou, giou = iou_and_giou(decoded, objects.boxes[index].double())
                quality[anchor, int(objects.labels[index])] = iou.detach()
                box_loss, count = box_loss + 1 - giou, count + 1
            score_loss = score_loss + quality_focal(outputs[scored_mask, : detector.classes], quality[scored_mask])
        return {"score": score_loss / max(count, 1), "box": box_loss / max(count, 1)}

    return losses


def compare_with_reference(detector, batch):
    params = random_params(detector, batch.images.shape[1:])
    expected, gradients = reference_gradients(detector, params, batch, reference_losses(detector, batch))
    losses, dparams = detector.gradients(params, batch, Mode(True))
    assert_close(losses, expected, 1e-10, "losses")
    assert_close(leaves(dparams), gradients, 1e-8, "gradients")
    return losses


def test_losses_and_gradients_are_those_of_automatic_differentiation():
    losses = compare_with_reference(small_single_stage(), random_batch())
    assert all(float(value) > 0 for value in losses.values())


@pytest.mark.parametrize(
    "boxes",
    [
        torch.zeros(0, 4),
        torch.tensor([[10.0, 10.0, 11.0, 11.0]]),  # one pixel
        torch.tensor([[0.0, 0.0, 46.0, 33.0], [0.0, 0.0, 46.0, 33.0]]),  # the whole image, twice
        torch.rand(500, 4, generator=torch.Generator().manual_seed(0)).mul(16) + torch.tensor([0.0, 0, 17, 17]),
    ],
    ids=["none", "one pixel", "whole image", "500"],
)
def test_unusual_boxes_have_the_right_gradients(boxes):
    images = random_batch(1).images
    compare_with_reference(small_single_stage(4), Batch(images, [Objects(boxes, torch.arange(len(boxes)) % 2)]))


def test_a_batch_without_objects_has_gradients_of_the_scores_only():
    images = random_batch(1).images
    losses, dparams = small_single_stage().gradients(
        random_params(small_single_stage()),
        Batch(images, [Objects(torch.zeros(0, 4), torch.zeros(0).long())]),
        Mode(True),
    )
    assert float(losses["box"]) == 0 < float(losses["score"])
    assert not dparams["head"]["layer"]["out"]["bias"][2:].any()


def test_anchors_in_crowds_have_no_gradient():
    crowd = Objects(torch.tensor([[-99.0, -99.0, 99.0, 99.0]]), torch.tensor([0]), crowd=torch.tensor([True]))
    losses, dparams = small_single_stage().gradients(
        random_params(small_single_stage()), Batch(random_batch(1).images, [crowd]), Mode(True)
    )
    assert all(float(value) == 0 for value in losses.values())
    assert not any(bool(leaf.any()) for leaf in leaves(dparams).values())


def single_stage_model(metrics=("ap",)):
    settings = {"clip": 5.0, "average": 0.9, "metrics": metrics, "classes": ("red", "green")}
    return Model(small_single_stage(), optimizer=AdamW(5e-3), input_shape=(3, None, None), **settings)


@pytest.mark.slow
def test_a_single_stage_detector_learns_to_find_rectangles():
    model = single_stage_model(metrics=())
    history = model.fit(Rectangles(4), epochs=25, batch_size=2, verbose=False)
    assert history["train_box_loss"][-1] < 0.5 * history["train_box_loss"][0]
    batch = Rectangles(4).batch(range(3), None)
    for result, truth in zip(model.predict(batch.images), batch.targets, strict=True):
        assert (box_iou(truth.boxes, result.boxes[:10]) > 0.5).any(1).all()


@pytest.mark.slow
def test_a_training_is_saved_loaded_and_resumed_exactly(tmp_path):
    data, uninterrupted, resumed = Rectangles(6, (32, 40)), single_stage_model(), single_stage_model()
    settings = {"epochs": 3, "batch_size": 2, "augment": Augment(flip=True), "verbose": False, "validation": data}
    history = uninterrupted.fit(data, run=tmp_path / "whole", monitor="val_ap", **settings)
    assert {"train_score_loss", "val_box_loss", "val_ap", "val_ap50"} <= history.rows[-1].keys()
    with pytest.raises(Stopped):
        single_stage_model().fit(
            data, run=tmp_path / "run", callbacks=[StopAt(5)], checkpoint_seconds=0.0, monitor="val_ap", **settings
        )
    resumed.fit(data, run=tmp_path / "run", resume=True, monitor="val_ap", **settings)
    assert resumed.sha256() == uninterrupted.sha256()
    uninterrupted.save(tmp_path / "model.safetensors")
    loaded = Model.load(tmp_path / "model.safetensors")
    assert loaded.objective == uninterrupted.objective
    images = data.batch([0, 1], None).images
    for expected, result in zip(uninterrupted.predict(images), loaded.predict(images), strict=True):
        assert_close([expected.boxes, expected.scores], [result.boxes, result.scores], 0.0)
    assert loaded.evaluate(data) == uninterrupted.evaluate(data)


def test_images_of_any_size_are_accepted():
    model = single_stage_model()
    for size in ((1, 1), (5, 70), (64, 48)):
        (result,) = model.predict(torch.rand(1, 3, *size))
        assert not len(result) or bool((result.boxes[:, 2:] <= torch.tensor([size[1], size[0]])).all())


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([torch.zeros(3, 4)], "SingleStage takes a list with the Objects of each image as targets"),
        ([Objects(torch.zeros(1, 4), torch.tensor([2]))], "image 0 has class 2, but the detector has 2"),
        (
            [Objects(torch.tensor([[0.0, 0.0, 1.0, torch.inf]]), torch.tensor([0]))],
            "image 0 has a box that is not finite",
        ),
    ],
)
def test_invalid_targets_are_refused(targets, message):
    with pytest.raises(PellucidError, match=message):
        small_single_stage().check((), targets)
