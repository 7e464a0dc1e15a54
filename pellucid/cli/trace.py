"""`pellucid trace`: show all values of one forward and backward pass, and explain one derivative of the loss."""

import argparse
from typing import TYPE_CHECKING, Any

from pellucid.base.errors import PellucidError
from pellucid.command.args import Parser
from pellucid.command.files import html_output_path, write_html
from pellucid.command.models import open_model
from pellucid.command.out import print_result

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from pellucid.model import Model

MAX_PRODUCTS = 1000


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser(
        "trace",
        "Run a forward and a backward pass for one image, and explain a derivative of the loss by the chain rule.",
    )
    parser.model_argument()
    parser.add_argument("image", metavar="IMAGE", help="a PNG, JPEG, BMP, GIF, WEBP, PPM or TIFF file")
    parser.add_argument(
        "--target",
        metavar="CLASS",
        help="the class in the loss (default: the class that the image's folder names, else the predicted class, or "
        "the second if the loss of the predicted class is below 0.001); for segmentation, the loss of the pixels "
        "predicted as CLASS, of the pixel 'CLASS[ROW, COLUMN]', or of the region 'CLASS[90:100, 120:200]'",
    )
    parser.add_argument(
        "--weight",
        metavar="PATH",
        help="the value whose derivative to explain, such as 'dense2.weight[3, 17]', 'relu1.y[0, 3, 2, 2]' or "
        "'x[0, 0, 14, 14]'; for a whole tensor, its value with the largest gradient",
    )
    parser.add_argument(
        "--nudge",
        metavar="H",
        type=float,
        help="add H to that value, and compare the change of the loss with the derivative",
    )
    parser.add_argument(
        "--top", metavar="N", type=int, default=6, help="number of products to show of each sum (default: 6)"
    )
    parser.add_argument(
        "--html",
        metavar="FILE",
        help="also write an HTML page: for a classifier the studio's view Draw, in which a click on a unit explains a "
        "weight; for segmentation, and with --nudge, the tables",
    )
    return parser.device_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Print the trace, or the explanation of one derivative and the change of the loss after a nudge."""
    import torch

    from pellucid.objective import Supervised
    from pellucid.task import task_of
    from pellucid.trace import trace

    if args.nudge is not None and args.weight is None:
        raise PellucidError("--nudge changes the value that --weight names; give both")
    if not 1 <= args.top <= MAX_PRODUCTS:
        raise PellucidError(f"--top is {args.top}; give 1 to {MAX_PRODUCTS}")
    html_path = html_output_path(args)
    model = open_model(args.model, args.device)
    if not isinstance(model.objective, Supervised):
        raise PellucidError(
            f"{args.model}: this command traces classifiers and segmentation models; trace a single-stage detector or "
            "a colorizer (pix2pix, l1 or mse) in Python by Model.load(FILE).trace(images, targets)"
        )
    model, x, target, label, target_origin = task_of(model).example(model, args.image, args.target)
    dtype = torch.float32 if model.device.type == "mps" else torch.float64
    trace_result = trace(model, x[None], target, dtype=dtype)
    explanation = None if args.weight is None else trace_result.explain(args.weight, args.top)
    nudge = None if args.nudge is None or args.weight is None else trace_result.nudge(args.weight, args.nudge)
    views = [view for view in (explanation or trace_result, nudge) if view is not None]
    kind = "class" if task_of(model).has_one_class else "target"
    about = f"{args.model} on {args.image}, {kind} {label}{'' if args.target else f' ({target_origin})'}"
    if html_path is not None:
        _write_page(html_path, args, model, x, target, views, about)
    hint = "explain a derivative with --weight 'NAME[i, j]', change the value with --nudge H; --json lists the names"
    print_result(
        args,
        {
            "model": args.model,
            "image": args.image,
            "target": label,
            "chosen": None if args.target else target_origin,
            "trace": trace_result.to_json(),
            "explanation": None if explanation is None else explanation.to_json(),
            "nudge": None if nudge is None else nudge.to_json(),
        },
        about,
        "",
        *"\n\n".join(map(str, views)).split("\n"),
        *(["", hint] if explanation is None else []),
    )
    return 0


def _write_page(
    path: "Path",
    args: argparse.Namespace,
    model: "Model",
    x: "Tensor",
    target: "Tensor",
    views: "list[Any]",
    about: str,
) -> None:
    """Write the studio's view Draw of the image; for a nudge or a model without this view, write the tables."""
    from pellucid.base.files import write_atomically
    from pellucid.studio.draw.file import traced_file
    from pellucid.studio.draw.session import can_draw

    if args.nudge is not None or not can_draw(model):
        write_html(path, "\n".join(view._repr_html_() for view in views), about)
        return
    cpu_model = model if model.device.type == "cpu" else open_model(args.model)
    page = traced_file(cpu_model, args.model, x[None].cpu(), int(target[0]), args.weight, about)
    write_atomically(path, page.encode())
