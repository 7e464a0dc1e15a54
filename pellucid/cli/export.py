"""`pellucid export`: write a model as ONNX or PyTorch code, and compare its outputs with the model's."""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from pellucid.base.errors import PellucidError, nearest
from pellucid.base.text import note
from pellucid.command.args import Parser, parse_sizes
from pellucid.command.files import check_output_path
from pellucid.command.out import print_result

if TYPE_CHECKING:
    from pellucid.export.target import ExportTarget

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
        help="image size of the file's input, if the format has one, for networks that take any (default: the model's)",
    )
    parser.add_argument(
        "--whole",
        action="store_true",
        help="an ONNX file that takes 8-bit pictures and returns what predict does, and a page about it beside it",
    )
    return parser.json_flag()


def handle(args: argparse.Namespace) -> int:
    """Write the files and print their names; return 1 and leave no file if the outputs differ."""
    from pellucid.export import TARGETS, TOLERANCE, ParityError
    from pellucid.export.metadata import takes_any_size, training_size
    from pellucid.model import Model
    from pellucid.run.folder import weights_file

    if args.to not in TARGETS:
        hint = nearest(args.to, TARGETS)
        raise PellucidError(f"pellucid export: unknown format {args.to!r}{hint}; known: {', '.join(TARGETS)}")
    target, weights_path = TARGETS[args.to], weights_file(args.model)
    if args.whole:
        if target.whole is None:
            titles = _titles(other for other in TARGETS.values() if other.whole is not None)
            raise PellucidError(f"--whole is for {titles} files; leave it out")
        target = target.whole
    if args.out is None:
        path = Path(target.file_stem(Path(args.model).resolve().name.removesuffix(".safetensors")) + target.suffix)
    else:
        path = check_output_path(args.out, "--out", (target.suffix,))
    files = target.files(path)
    for file in files:
        if file.exists() and file.samefile(weights_path):
            raise PellucidError(f"{file} is the model itself; give another --out")
    size = None
    if args.size is not None:
        if target.size_fault:
            titles = _titles(other for other in TARGETS.values() if not other.size_fault)
            raise PellucidError(f"--size is for {titles} files; leave it out: {target.size_fault}")
        height, width = parse_sizes(args.size, "--size", "height", "width")
        size = height, width
    try:
        model = Model.load(weights_path)
        parity = target.write(model, path, size)
    except ParityError as error:
        note(str(error))
        return 1
    lines = [f"wrote {file} ({file.stat().st_size:,} bytes)" for file in files]
    if not target.size_fault and size is None and takes_any_size(model):
        height, width = training_size(model)
        lines.append(f"the file takes pictures of {height}x{width} pixels; --size HxW writes it for others")
    comparison = {"difference": parity.difference, "tolerance": TOLERANCE, "images": parity.images}
    print_result(
        args,
        {"model": args.model, "format": args.to, "files": [str(file) for file in files], **comparison},
        *lines,
        f"largest difference from the model, on {parity.images} random inputs: {parity.difference:.1e} of the largest "
        f"output (allowed {TOLERANCE:.0e})",
    )
    return 0


def _titles(targets: "Iterable[ExportTarget]") -> str:
    return " and ".join(target.title for target in targets)
