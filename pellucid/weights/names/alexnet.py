"""Names of AlexNet's layers in ONNX's model zoo; for torchvision's see vgg.py."""

from pellucid.weights.names.naming import each


def onnx(layer: str) -> str | None:
    """Return our path by Caffe's name: "conv1", "fc6"."""
    known = {f"conv{index}": f"features.conv{index}" for index in range(1, 6)}
    return {**known, "fc6": "head.dense1", "fc7": "head.dense2", "fc8": "head.scores"}.get(layer)


ONNX = each(onnx)
