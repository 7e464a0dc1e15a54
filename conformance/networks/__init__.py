"""The networks of the zoo beside other libraries', with the same random weights: network.py says what is compared."""

from collections.abc import Iterator

from conformance.case import Case
from conformance.networks import counts, keras_applications, light_zoo, transformers_resnet


def cases() -> Iterator[Case]:
    """Yield the cases of Keras Applications, ONNX's light model zoo, Hugging Face's ResNets, and published sizes."""
    for part in (keras_applications, light_zoo, transformers_resnet, counts):
        yield from part.cases()
