"""`pellucid explain --box`: show how a detector arrives at one box of an image, and what the box depends on."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pellucid.cli.out import again, answer_files

if TYPE_CHECKING:
    from pellucid.model import Model

PAGE = "page.html"


def explain_box(args: argparse.Namespace, model: "Model", out: Path, methods: list[str]) -> int:
    """Write the page and the maps of one box into a folder, and print the sentences of the page."""
    from pellucid.data import load_image
    from pellucid.report.write import write_page, write_picture
    from pellucid.tasks.detect import ObjectFinder, pipeline
    from pellucid.tasks.detect.pipeline_page import BoxPage

    page = BoxPage(
        pipeline(model, load_image(args.image, mode=ObjectFinder(model).mode)), args.box, args.target, methods
    )
    method = None if args.method == "all" else args.method
    options = {"--box": args.box, "--target": args.target, "--method": method, "--out": args.out}
    command = again(["explain", args.model, args.image], options, ())
    index = write_page(out / PAGE, page.html(f"{page.title} of {Path(args.image).name}", command), page.figures)
    written = [index]
    for method, map_ in page.maps.items():
        figure = page.figures[method]
        assert figure is not None
        written += write_picture(out, method, figure, {"map": map_, "image": page.it.image, "box": page.boxes[page.at]})
    lines = [line for step in page.steps for line in (f"{step.heading}:", *(f"  {text}" for text in step.sentences))]
    answer_files(args, page.to_json(), lines, out, written)
    return 0
