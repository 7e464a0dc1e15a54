"""What belongs to each file of the catalogue: the network that it fits, and the images that it was trained on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pellucid.weights.catalogue import CATALOGUE
from pellucid.weights.inputs import TORCHVISION_V2, Input
from pellucid.weights.names.families import NAMINGS


@dataclass(frozen=True)
class Known:
    """A published file: `MODELS[model](**options)` is its network, `inputs` what that one takes.

    `part` is "features" for a file without the top layer, None for a whole network.
    """

    model: str
    options: Mapping[str, Any]
    inputs: Input
    part: str | None


def _known(name: str) -> Known:
    model, _, form = name.partition("-")
    library = "Keras" if form.startswith("keras") else "torchvision"
    naming = next(one for one in NAMINGS if model in one.models and one.library.startswith(library))
    assert naming.inputs is not None, name
    inputs = TORCHVISION_V2 if form == "imagenet1k-v2" else naming.inputs
    return Known(model, naming.options, inputs, "features" if form.endswith("notop") else None)


KNOWN: dict[str, Known] = {name: _known(name) for name in CATALOGUE}
