"""`pellucid open`: open a network from ONNX, PyTorch, timm or Hugging Face, and save it as a model."""

import argparse
from pathlib import Path
from typing import Any

from pellucid.base.errors import PellucidError
from pellucid.command.args import Parser, parse_sizes
from pellucid.command.files import check_output_path
from pellucid.command.out import print_result

MODEL_SUFFIX = ".safetensors"
ABOUT = (
    "Open an ONNX file, an exported program of PyTorch (.pt2), a network of timm or a folder of Hugging Face as a "
    "network whose every layer has an explicit backward pass, compare its outputs with the original's, and save it as "
    "a model that every other command takes."
)


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser("open", ABOUT)
    parser.add_argument(
        "file",
        metavar="FILE|timm:NAME|DIR",
        help="an .onnx file, a .pt2 file of torch.export.save, the name of a network of timm, or a folder with "
        "config.json and model.safetensors; the last two need the extra open, and nothing is downloaded",
    )
    parser.add_argument(
        "--out",
        metavar="DIR|FILE.safetensors",
        help="the model to write (default: the name of what is opened with .safetensors, in the current folder)",
    )
    parser.add_argument(
        "--weights", metavar="FILE", help="weights for a name of timm: safetensors or .pth (default: random weights)"
    )
    parser.add_argument("--input", metavar="CxHxW", help="shape of an input, for files that leave sizes free")
    return parser.json_flag()


def handle(args: argparse.Namespace) -> int:
    """Write the model; print its layers, and the parts of the original that were left out."""
    import torch

    import pellucid
    from pellucid.network.inputs import nominal_shape
    from pellucid.network.summary import shape_text, summary

    out = _output_path(args.file, args.out)
    example = None
    if args.input is not None:
        example = torch.rand(2, *parse_sizes(args.input, "--input", "channels", "height", "width"))
    model = pellucid.open(args.file, example, weights=args.weights)
    net: Any = model.net  # a Graph
    if len(net.inputs) > 1:
        raise PellucidError(f"{args.file} has several inputs; open it in Python, by pellucid.open")
    model.save(out)
    shape = nominal_shape(model.input_shape)
    table = summary(model.net, model.params, shape)
    cut_parts = list(model.cut)
    free_text = ", of which height and width may be any" if None in model.input_shape else ""
    print_result(
        args,
        {
            "file": args.file, "model": str(out), "input_shape": model.input_shape,
            "output_shape": model.output_shape, "cut": cut_parts, **table.to_json(),
        },
        *str(table).split("\n"),
        "",
        f"input {shape_text(shape)}{free_text}; outputs {', '.join(net.outputs)}",
        *([f"left out: {', '.join(cut_parts)}"] if cut_parts else []),
        f"wrote {out} ({out.stat().st_size:,} bytes)",
    )  # fmt: skip
    return 0


def _output_path(file: str, out: str | None) -> Path:
    """Return the file to write, from the opened file and `--out`; raise PellucidError if it cannot be written."""
    from pellucid.opening.timmnetworks import PREFIX

    path = Path(file).resolve()
    stem = file.removeprefix(PREFIX) if file.startswith(PREFIX) else path.name if path.is_dir() else path.stem
    name = stem + MODEL_SUFFIX
    if out is None:
        return check_output_path(name, "--out")
    return (
        check_output_path(str(Path(out) / name), "--out")
        if Path(out).is_dir()
        else check_output_path(out, "--out", (MODEL_SUFFIX,))
    )
