"""The networks of the zoo compared with those of other libraries for the same random weights; see network.py."""

from collections.abc import Iterator

from conformance.case import Case
from conformance.networks import counts, keras_applications, light_zoo, transformers_resnet


def cases() -> Iterator[Case]:
    """Yield the cases of Keras Applications, ONNX's light models, Hugging Face's ResNets, and parameter counts."""
    for part in (keras_applications, light_zoo, transformers_resnet, counts):
        yield from part.cases()
