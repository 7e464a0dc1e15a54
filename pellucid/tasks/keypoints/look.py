"""What is shown of a key-point model for a picture: the points, and the heat maps that they are read from."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pellucid.fuse.inference import inference
from pellucid.losses import HeatMaps
from pellucid.task.look import NO_VALUES, Hint, Look, MapLayer, NumberBar, PointLayer, Shown
from pellucid.tasks.keypoints.finder import KeypointFinder, pad_and_resize


class KeypointLook(Look):
    """The key-points of the object that fills a picture."""

    def __init__(self, task: Any, model: Any) -> None:
        super().__init__(task, model)
        self.finder = KeypointFinder(model)
        self._forward = inference(model.net, model.params)

    def see(self, picture: Tensor) -> None:
        """Find the points, and keep the heat maps if the network outputs them."""
        self.read(picture)
        (self.points,) = self.finder([self.image])
        self.maps: Tensor | None = None
        if isinstance(self.model.loss, HeatMaps):
            with torch.inference_mode():
                self.maps = self._forward(self.model.scaled(self.input[None]))[0].cpu()

    @property
    def window(self) -> tuple[float, float, float, float]:
        """The part of the network's input without the padding."""
        _, height, width = self.model.nominal_shape
        _, frame = pad_and_resize(self.image, (height, width))
        left = frame.left * frame.scale[0] / width
        top = frame.top * frame.scale[1] / height
        right = left + self.image.shape[2] * frame.scale[0] / width
        bottom = top + self.image.shape[1] * frame.scale[1] / height
        return top, left, bottom, right

    def shown(self, values: Mapping[str, float] = NO_VALUES, hints: Sequence[Hint] = ()) -> Shown:
        """Return the points with their scores, over the heat maps."""
        names = self.finder.point_names
        layers: list[Any] = []
        if self.maps is not None:
            maps = self.cut(self.maps)
            layers.append(MapLayer("all", values=maps.amax(0), group="Heat maps"))
            layers += [MapLayer(name, values=map_, group="Heat maps") for name, map_ in zip(names, maps, strict=True)]
        layers.append(PointLayer("points", True, self.points, names))
        bars = [NumberBar(name, score) for name, score in zip(names, self.points[:, 2].tolist(), strict=True)]
        least = min(bars, key=lambda bar: bar.value)
        line = f"{len(names)} points, mean score {float(self.points[:, 2].mean()):.3f}"
        return Shown(f"{line}; least certain: {least.name}, {least.value:.3f}", layers, bars)
