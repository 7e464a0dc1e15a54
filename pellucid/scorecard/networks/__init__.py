"""The networks of the zoo beside other libraries', with the same random weights: network.py says what is compared."""

from collections.abc import Iterator

from pellucid.scorecard.case import Case
from pellucid.scorecard.networks import keras_applications, light_zoo, transformers_resnet


def cases() -> Iterator[Case]:
    """Yield the cases of Keras Applications, of ONNX's light model zoo and of Hugging Face's residual networks."""
    for part in (keras_applications, light_zoo, transformers_resnet):
        yield from part.cases()
