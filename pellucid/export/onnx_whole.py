"""ONNX files that convert 8-bit pictures to the values of `predict`, and the HTML page that describes such a file."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pellucid.base.errors import PellucidError
from pellucid.data import float_images
from pellucid.export.metadata import shared_preprocess
from pellucid.export.parity import BATCH, SEED, Parity, compare
from pellucid.model import Model
from pellucid.objective import Supervised
from pellucid.opening.onnx_nodes.proto import OPSET, import_optional, run_file
from pellucid.report.sections import CodeBlock, Facts, Page, Section, TablePart

IMAGES = "images"
PREDICTIONS = "predictions"
CLASS_MAP = "class_map"


def with_pictures(data: bytes, model: Model, operator: tuple[int, str, dict[str, int]] | None) -> tuple[bytes, Parity]:
    """Return the bytes of an ONNX file from pictures to predictions, and its largest difference from the model.

    data: the bytes of a file whose input is "input"; the new file's input is "images", uint8 (N, H, W, C). operator:
    the index of the output that `predict` uses, and the ONNX operator, with its attributes, that converts it to
    predictions. The file then returns "predictions" and, if each pixel is classified, also "class_map" (N, H, W). For a
    detector, whose outputs are unchanged, operator is None. Raises PellucidError for inputs that are not images, and
    ParityError if the outputs differ.
    """
    onnx = import_optional("onnx")
    helper, types = onnx.helper, onnx.TensorProto
    proto = onnx.load_from_string(data)
    graph = proto.graph
    if len(graph.input) != 1 or len(shape := _shape(graph.input[0])) != 4 or shape[1] not in (1, 3):
        raise PellucidError("a whole file takes pictures in grey or colour, and the model's inputs are none")
    channels, height, width = map(int, shape[1:])
    first_nodes = [
        helper.make_node("Transpose", [IMAGES], ["images/channels"], "images/channels", perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["images/channels"], ["images/float"], "images/float", to=types.FLOAT),
        helper.make_node("Div", ["images/float", "images/255"], ["input"], "images/scaled"),
    ]
    graph.initializer.append(helper.make_tensor("images/255", types.FLOAT, [], [255.0]))
    _replace(graph.input, [helper.make_tensor_value_info(IMAGES, types.UINT8, ("N", height, width, channels))])
    last_nodes = []
    if operator is not None:
        index, op_type, attributes = operator
        used_output = graph.output[index]
        output_infos = [helper.make_tensor_value_info(PREDICTIONS, types.FLOAT, sizes := _shape(used_output))]
        last_nodes = [helper.make_node(op_type, [used_output.name], [PREDICTIONS], PREDICTIONS, **attributes)]
        if op_type != "Identity" and len(sizes) == 4 and int(sizes[1]) > 1:
            last_nodes.append(helper.make_node("ArgMax", [PREDICTIONS], [CLASS_MAP], CLASS_MAP, axis=1, keepdims=0))
            output_infos.append(helper.make_tensor_value_info(CLASS_MAP, types.INT64, (sizes[0], *sizes[2:])))
        _replace(graph.output, output_infos)
    _replace(graph.node, [*first_nodes, *graph.node, *last_nodes])
    file_bytes = proto.SerializeToString(deterministic=True)
    onnx.checker.check_model(file_bytes, full_check=True)
    rng = torch.Generator().manual_seed(SEED)
    images = torch.randint(256, (BATCH, channels, height, width), dtype=torch.uint8, generator=rng)
    file_outputs = run_file(file_bytes, {IMAGES: images.permute(0, 2, 3, 1).contiguous()})
    # `to_onnx` compared these outputs with the model's. Predictions computed from the model's own would differ more for
    # outputs of large values: softmax turns a small relative difference of 30.0 into a large one of a probability.
    expected = run_file(data, {"input": float_images(images)})
    if operator is not None:
        assert isinstance(model.objective, Supervised)
        expected = [model.loss.predict(tuple(expected) if len(expected) > 1 else expected[0])]
        file_outputs = file_outputs[:1]
    return file_bytes, compare([y.float() for y in expected], [y.float() for y in file_outputs]).require(
        "the ONNX file"
    )


def _shape(value: Any) -> tuple[int | str, ...]:
    return tuple(axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim)


def _replace(field: Any, values: Sequence[Any]) -> None:
    copies = list(values)
    del field[:]
    field.extend(copies)


OUTPUT_MEANINGS = {
    PREDICTIONS: "what predict returns, such as the probability of each class",
    CLASS_MAP: "the index of the most probable class of each pixel",
    "boxes": "x0, y0, x1, y1 in pixels of the resized picture",
    "scores": "probabilities, in descending order",
    "labels": "indices of classes, -1 after the last detection",
    "count": "the number of detections of each picture",
}


def usage_code(path: str | os.PathLike[str], shape: Sequence[int | str]) -> str:
    """Return Python code that runs a file for images of `shape` (N, H, W, C) on picture.png with onnxruntime."""
    _, height, width, channels = shape
    return f"""\
import numpy as np
import onnxruntime
from PIL import Image

picture = Image.open("picture.png").convert("{"RGB" if channels == 3 else "L"}")
picture = picture.resize(({width}, {height}), Image.Resampling.BILINEAR)
session = onnxruntime.InferenceSession({Path(path).name!r})
results = session.run(None, {{"{IMAGES}": np.array(picture).reshape(1, {height}, {width}, {channels})}})
"""


def page(path: str | os.PathLike[str], data: bytes, model: Model, parity: Parity) -> Page:
    """Return the page that describes a file's input, computation and outputs, and how to run it."""
    onnx = import_optional("onnx")
    graph = onnx.load_from_string(data).graph
    shape = _shape(graph.input[0])
    _, height, width, channels = shape
    order = "red, green, blue" if channels == 3 else "grey"
    statistics = "" if model.stats is None else "; subtracts the training's mean and divides by its standard deviation"
    same_numbers = (
        f"give both the picture upright as a PNG of {width} x {height} pixels: of other files, the command obeys "
        "the EXIF orientation, and a classifier decodes a large JPEG at a half, a quarter or an eighth of its size "
        "before it resizes it; digits it crops and centres"
    )
    if model.confidence is not None:
        same_numbers += (
            "; and calibrate the probabilities p, which the file does not: "
            f"p ** (1 / {model.confidence.temperature:.6g}), divided by their sum over the classes"
        )
    facts = [
        ("Input", f"{IMAGES}, uint8 {_shape_text(shape)}: 0 to 255, channels {order}, any number N of pictures"),
        ("Before the file", f"resize each picture to {width} x {height} pixels (width x height); the file does not"),
        ("For the numbers of `pellucid predict`", same_numbers),
        ("In the file", f"divides by 255{statistics}; runs the network; computes the results below"),
        ("Training's preprocessing", json.dumps(shared_preprocess(model))),
        ("Operator set", str(OPSET)),
        ("Size", f"{len(data):,} bytes"),
        ("Largest difference", f"{parity.difference:.1e} of the largest value, on {parity.images} random pictures"),
    ]
    rows = [(output.name, _shape_text(_shape(output)), OUTPUT_MEANINGS.get(output.name, "")) for output in graph.output]
    sections = [
        Section("inside", "What is inside", [Facts(facts)]),
        Section("results", "Results", [TablePart("Outputs of the file", ("name", "shape", "meaning"), rows, right=())]),
        Section("run", "Run it", [CodeBlock(usage_code(path, shape))]),
    ]
    if model.classes is not None:
        names = [(str(index), name) for index, name in enumerate(model.classes)]
        sections.append(Section("classes", "Classes", [TablePart("By index", ("index", "name"), names, right=())]))
    return Page(f"{Path(path).name}: what is inside", sections)


def _shape_text(shape: Sequence[int | str]) -> str:
    return f"({', '.join(map(str, shape))})"
