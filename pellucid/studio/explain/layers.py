"""The layers whose feature maps the view Explain offers."""

from typing import Any

from torch import Tensor

from pellucid.combine.base import Combinator
from pellucid.layers.base import Layer, Mode, Trait
from pellucid.sweep import forward
from pellucid.task.score_to_explain import ScoreToExplain


def maps_of(asked: ScoreToExplain) -> list[dict[str, Any]]:
    """Return the layers whose outputs are maps (K, h, w), in forward order, without layers that run more than once."""
    found: list[dict[str, Any]] = []

    def watch(path: str, layer: Layer, x: Any, y: Any, cache: Any) -> None:
        if isinstance(y, Tensor) and y.dim() == 4 and not isinstance(layer, Combinator):
            shape = list(y.shape[1:])
            found.append({"path": path, "shape": shape, "activation": Trait.ACTIVATION in layer.traits})

    forward(asked.net, asked.params, asked.x, Mode(keep=False), watch)
    paths = [entry["path"] for entry in found]
    return [entry for entry in found if paths.count(entry["path"]) == 1]
