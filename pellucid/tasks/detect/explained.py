"""The page and the maps of one box of a detector, as files."""

from pathlib import Path

from pellucid.command.out import again
from pellucid.data import load_image
from pellucid.data.images import full_size
from pellucid.model import Model
from pellucid.report.write import write_picture
from pellucid.task import Explained, Request
from pellucid.tasks.detect.finder import ObjectFinder
from pellucid.tasks.detect.pipeline import METHODS, pipeline
from pellucid.tasks.detect.pipeline_page import BoxPage, sentences


def explain_box(model: Model, request: Request, box: int) -> Explained:
    """Write the page and the maps of a box, by its number; the lines are the sentences of the page."""
    out = request.folder(f"box{box}")
    image = load_image(full_size(request.image), request.image, mode=ObjectFinder(model).mode)
    methods = list(METHODS) if request.method is None else [request.method]
    box_page = BoxPage(pipeline(model, image), box, request.target, methods)
    options = {"--box": box, "--target": request.target, "--method": request.method, "--out": request.out}
    command = again(["explain", request.model, request.image], options, ())
    page = box_page.page(f"{box_page.title} of {Path(request.image).name}", command)
    written = [page.write(out / "page.html")]
    numbers = {"image": box_page.pipeline.image, "box": box_page.boxes[box_page.detection_index]}
    for method, map_ in box_page.maps.items():
        figure = page.figures[method]
        assert figure is not None
        written += write_picture(out, method, figure, {"map": map_, **numbers})
    lines = [line for step in page.sections for line in (f"{step.heading}:", *(f"  {one}" for one in sentences(step)))]
    return Explained(box_page.to_json(), lines, out, written)
