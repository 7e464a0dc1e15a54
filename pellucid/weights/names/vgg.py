"""Names of VGG's layers in published files; torchvision and timm number AlexNet's in the same way."""

import re

from pellucid.combine.base import Combinator, walk
from pellucid.models import MODELS, features, head
from pellucid.weights.names.naming import each, table


def torchvision(model: str) -> dict[str, str]:
    """Return our paths by torchvision's and timm's names of AlexNet and VGG, which count all layers.

    "features.0", "classifier.6"; the head counts from behind `flatten`. timm: "pre_logits.fc1", "head.fc".
    """
    net = MODELS[model]()
    maps = [path for path, layer in walk(features(net)) if not isinstance(layer, Combinator)]
    rest = [path for path, layer in walk(head(net)) if not isinstance(layer, Combinator)]
    rest = rest[rest.index("flatten") + 1 :]
    return {
        **{f"features.{index}": f"features.{path}" for index, path in enumerate(maps)},
        **{f"classifier.{index}": f"head.{path}" for index, path in enumerate(rest)},
        "pre_logits.fc1": "head.dense1",
        "pre_logits.fc2": "head.dense2",
        "head.fc": "head.scores",
    }


def keras(layer: str) -> str | None:
    """Return our path by Keras' name: "block1_conv1", "fc1", "predictions"."""
    found = re.fullmatch(r"block(\d)_conv(\d)", layer)
    if found is not None:
        return f"features.block{found[1]}.conv{found[2]}"
    return {"fc1": "head.dense1", "fc2": "head.dense2", "predictions": "head.scores"}.get(layer)


TORCHVISION, KERAS = table(torchvision), each(keras)
