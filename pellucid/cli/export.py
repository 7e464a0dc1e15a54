"""`pellucid export`: write a model as ONNX or PyTorch code, and compare its outputs with the model's."""

import argparse
from pathlib import Path

from pellucid.command.args import Parser, sizes
from pellucid.command.files import check_place
from pellucid.command.out import answer
from pellucid.errors import PellucidError, nearest
from pellucid.text import note

SUFFIXES = {"onnx": ".onnx", "torch": ".py"}
ABOUT = (
    "Write a model as an ONNX file, or as a Python file that builds a PyTorch module, with its weights in a "
    "safetensors file beside it. The files are kept only if their outputs equal the model's to within 1e-5 of the "
    "largest output."
)


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser("export", ABOUT)
    parser.model_argument()
    parser.add_argument("--to", metavar="FORMAT", required=True, help="onnx or torch")
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="the file to write (default: the model's name with .onnx or .py, in the current folder)",
    )
    parser.add_argument(
        "--size",
        metavar="HxW",
        help="image size of an ONNX file's input, for networks that take images of any size (default: the model's)",
    )
    return parser.json_flag()


def handle(args: argparse.Namespace) -> int:
    """Write the files and print their names; return 1 and leave no file if the outputs differ."""
    from pellucid.export import TOLERANCE, ParityError, to_onnx, to_torch, weights_path
    from pellucid.model import Model
    from pellucid.run.folder import weights_file

    if args.to not in SUFFIXES:
        hint = nearest(args.to, SUFFIXES)
        raise PellucidError(f"pellucid export: unknown format {args.to!r}{hint}; known: {', '.join(SUFFIXES)}")
    source = weights_file(args.model)
    path = _path(args)
    files = [path] if args.to == "onnx" else [path, weights_path(path)]
    for file in files:
        if file.exists() and file.samefile(source):
            raise PellucidError(f"{file} is the model itself; give another --out")
    size = None
    if args.size is not None:
        if args.to != "onnx":
            raise PellucidError(
                "--size is for ONNX files; leave it out: a PyTorch module takes any size that the network takes"
            )
        height, width = sizes(args.size, "--size", "height", "width")
        size = height, width
    try:
        model = Model.load(source)
        parity = to_onnx(model, path, size) if args.to == "onnx" else to_torch(model, path)
    except ParityError as error:
        note(str(error))
        return 1
    comparison = {"difference": parity.difference, "tolerance": TOLERANCE, "images": parity.images}
    answer(
        args,
        {"model": args.model, "format": args.to, "files": [str(file) for file in files], **comparison},
        *(f"wrote {file} ({file.stat().st_size:,} bytes)" for file in files),
        f"largest difference from the model, on {parity.images} random inputs: {parity.difference:.1e} of the largest "
        f"output (allowed {TOLERANCE:.0e})",
    )
    return 0


def _path(args: argparse.Namespace) -> Path:
    """Return the file to write: `--out`, else the model's name in the current folder."""
    suffix = SUFFIXES[args.to]
    if args.out is None:
        name = Path(args.model).resolve().name.removesuffix(".safetensors")
        return Path((name.replace("-", "_") if args.to == "torch" else name) + suffix)
    return check_place(args.out, "--out", (suffix,))
