"""Detection of key-points in pictures of any size, and explanations of their coordinates."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check
from pellucid.combine import Sequential
from pellucid.data.image_formats import ColourMode
from pellucid.data.images import resized
from pellucid.data.keypoints import InputFrame, square_around
from pellucid.explain import explain
from pellucid.layers import SoftArgmax
from pellucid.layers.base import Layer, Mode, Params
from pellucid.losses import HeatMaps
from pellucid.losses.keypoints import KeypointLoss
from pellucid.model import Model
from pellucid.objective import Supervised
from pellucid.task.score_to_explain import Area, ScoreToExplain, index_of
from pellucid.tasks.annotated import check_image, mode_of

Axis = Literal["x", "y"]
CROPS_PER_BATCH = 32


def is_keypoint_model(model: Model) -> bool:
    """Return whether a model outputs key-points."""
    return isinstance(model.objective, Supervised) and isinstance(model.objective.loss, KeypointLoss)


class KeypointFinder:
    """Finds the key-points of the object that fills a picture; the model's weights must not change afterwards.

    point_names: the names of the key-points. kind: the kind of object, such as "face". is_of_crops: whether the model
    was trained on crops around boxes. mode: the mode in which to read pictures, "L" for a network with one input
    channel. Raises PellucidError for a model with other outputs.
    """

    def __init__(self, model: Model) -> None:
        loss = model.objective.loss if isinstance(model.objective, Supervised) else None
        if not isinstance(loss, KeypointLoss):
            raise PellucidError("the model outputs no key-points; give one that does, such as faces or a run of it")
        self.model = model
        n_points = loss.point_count(model.output_shape)
        keypoint_info = model.preprocess.get("keypoints", {"of": "object", "names": [f"p{k}" for k in range(n_points)]})
        self.point_names: tuple[str, ...] = tuple(keypoint_info["names"])
        self.kind: str = keypoint_info["of"]
        self.is_of_crops = keypoint_info.get("crops") is True
        if len(self.point_names) != n_points:
            raise PellucidError(
                f"the model outputs {n_points} key-points, but names {len(self.point_names)}; train it again"
            )
        self.mode: ColourMode = mode_of(model)
        self._predict = model.predictor()

    def __call__(self, images: Sequence[Tensor]) -> Tensor:
        """Return the key-points (N, K, 3) of N pictures: x and y in pixels of the picture, and a score from 0 to 1.

        images: uint8, (3, H, W) each, or (1, H, W) for a network with one input channel. Each is padded with the pixels
        of its border to the proportions of the network's input, and resized. Raises PellucidError for other images.
        """
        _, height, width = self.model.nominal_shape
        inputs: list[Tensor] = []
        frames: list[InputFrame] = []
        for image in images:
            check_image(self.model, image)
            x, frame = pad_and_resize(image, (height, width))
            inputs.append(x)
            frames.append(frame)
        input_points = self._predict(torch.stack(inputs))
        return torch.stack([frame.to_picture(points) for frame, points in zip(frames, input_points, strict=True)])

    def find_in_boxes(self, image: Tensor, boxes: Tensor) -> Tensor:
        """Return the key-points (n, K, 3) of the objects in boxes (n, 4) of a picture, in pixels of the picture.

        The square around each box is cropped, as in training on crops.
        """
        found_points = torch.zeros(len(boxes), len(self.point_names), 3)
        for k in range(0, len(boxes), CROPS_PER_BATCH):
            windows = [square_around(box) for box in boxes[k : k + CROPS_PER_BATCH].tolist()]
            points = self([window.cut_out(image) for window in windows])
            found_points[k : k + len(windows)] = points + torch.tensor(
                [[[window.left, window.top, 0.0]] for window in windows]
            )
        return found_points


def pad_and_resize(image: Tensor, size: tuple[int, int]) -> tuple[Tensor, InputFrame]:
    """Return a uint8 picture (C, H, W), padded to the proportions of `size` and resized to it, and its InputFrame."""
    height, width = image.shape[1:]
    padded_height = max(height, round(width * size[0] / size[1]))
    padded_width = max(width, round(height * size[1] / size[0]))
    top, left = (padded_height - height) // 2, (padded_width - width) // 2
    if (padded_height, padded_width) != (height, width):
        margins = (left, padded_width - width - left, top, padded_height - height - top)
        image = F.pad(image[None].float(), margins, mode="replicate")[0].to(torch.uint8)
    return resized(image, size), InputFrame(left, top, (size[1] / padded_width, size[0] / padded_height))


def explain_point(
    model: Model, image: Tensor, point: int, axis: Axis = "x", method: str = "saliency", **options: Any
) -> Tensor:
    """Return an attribution map (h, w) over the network's input for a coordinate of one key-point.

    image: uint8 (3, H, W), converted to the network's input as in `KeypointFinder`. point: the index of the key-point.
    axis: "x" or "y". The coordinate is an output of the network, or the expected position under a heat map, in units of
    the image's side. method, options: see pellucid.explain.explain. The attributions of the channels are summed; for
    saliency, their maximum is returned. Raises PellucidError for a point that the model does not have.
    """
    finder = KeypointFinder(model)
    if not 0 <= point < len(finder.point_names):
        raise PellucidError(f"point {point}: the model has {len(finder.point_names)} points, counted from 0")
    check(axis in get_args(Axis), "axis", "'x' or 'y'", axis)
    net, params = _coordinate_network(model)
    x, _ = pad_and_resize(image, (model.nominal_shape[1], model.nominal_shape[2]))
    maps = explain(net, params, model.scaled(x[None]), method, 2 * point + (axis == "y"), **options)[0]  # (C, h, w)
    return (maps.amax(0) if method == "saliency" else maps.sum(0)).cpu()


def point_to_explain(model: Model, x: Tensor, choice: str | None, area: Area | None) -> ScoreToExplain:
    """Return a coordinate of the key-point nearest to the centre of an area, by default the first.

    See `Task.score_to_explain`.
    """
    (net, params), inputs, axes = _coordinate_network(model), model.scaled(x[None]), get_args(Axis)
    with torch.no_grad():
        y = net.forward(params, inputs, Mode(keep=False))[0][0].cpu()
    points = (y.view(-1, 2) + 0.5) * torch.tensor([x.shape[2], x.shape[1]])  # y is relative to the centre
    point = 0
    if area is not None:
        area_centre = torch.tensor([area[1] + area[3], area[0] + area[2]]) / 2
        point = int((points - area_centre).norm(dim=1).argmin())
    axis = 0 if choice is None else index_of(choice, axes)
    left, top = (int(value) for value in points[point])
    label = f"{axes[axis]} of {KeypointFinder(model).point_names[point]}"
    scores = y[2 * point : 2 * point + 2]
    return ScoreToExplain(
        label=label,
        net=net,
        params=params,
        x=inputs,
        target=2 * point + axis,
        choices=axes,
        scores=scores,
        chosen=axis,
        area=(top - 1, left - 1, top + 2, left + 2),
    )


def _coordinate_network(model: Model) -> tuple[Layer, Params]:
    """Return the network (N, C, H, W) -> (N, 2K) that computes the coordinates in units of the image's side."""
    if isinstance(model.loss, HeatMaps):
        return Sequential(maps=model.net, points=SoftArgmax()), {"maps": model.params, "points": {}}
    return model.net, model.params
