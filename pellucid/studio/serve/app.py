"""The application of `pellucid serve`: a page, and predictions as JSON."""

import threading
from collections.abc import Collection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from PIL import Image
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from pellucid.base.errors import PellucidError
from pellucid.command.out import to_json_types
from pellucid.model import Model
from pellucid.predictor import Picture, Predicted
from pellucid.report.embedded import data_uri
from pellucid.studio.serve.limits import OnlyFrom, RefusedError, UploadReader, refusal
from pellucid.task import task_of

PAGE = Path(__file__).parent / "page"
PAGE_FILES = {"/": "index.html", "/page.js": "page.js", "/page.css": "page.css"}


def application(name: str, model: Model, hosts: Collection[str] | None) -> Starlette:
    """Return the application that serves a model.

    name: the name of the model, as given by the user. hosts: see `OnlyFrom`. Raises PellucidError for a model without
    predictions for pictures.
    """
    task = task_of(model)
    predictor = task.predictor(model)
    one_at_a_time = threading.Lock()
    uploads = UploadReader()

    def predict_picture(body: bytes, file: str) -> dict[str, Any]:
        with TemporaryDirectory(prefix="pellucid-") as folder, one_at_a_time, torch.inference_mode():
            path = Path(folder) / "picture"
            path.write_bytes(body)
            try:
                image = predictor.read(path)
            except PellucidError as error:  # the message must not contain the path of the copy
                raise PellucidError(str(error).replace(str(path), "the picture")) from error
            (prediction,) = predictor.predict([(Picture("picture", file, lambda: image), image)])
        if isinstance(prediction, PellucidError):
            raise prediction
        return prediction_json(prediction, image)

    async def predict(request: Request) -> Response:
        """Handle POST /predict, whose body is a picture: return its prediction."""
        try:
            async with uploads.picture(request) as body:
                return JSONResponse(to_json_types(await run_in_threadpool(predict_picture, body, "picture")))
        except RefusedError as error:
            return refusal(error)
        except PellucidError as error:
            return JSONResponse({"error": str(error)}, 400)

    async def about(request: Request) -> Response:
        """Handle GET /about: return the name, the task and the classes of the model."""
        return JSONResponse({"model": name, "task": task.name, "classes": list(model.classes or ())})

    def page_endpoint(file: str) -> Any:
        async def get_file(request: Request) -> Response:
            return FileResponse(PAGE / file)

        return get_file

    routes = [Route(path, page_endpoint(file), methods=["GET"]) for path, file in PAGE_FILES.items()]
    routes += [Route("/predict", predict, methods=["POST"]), Route("/about", about, methods=["GET"])]
    return Starlette(
        routes=routes,
        middleware=[Middleware(OnlyFrom, hosts=hosts)],
        exception_handlers={HTTPException: _http_error_response},
    )


async def _http_error_response(request: Request, error: Exception) -> Response:
    """Return the JSON response for an unknown path or method."""
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": f"{request.method} {request.url.path}: {error.detail}"}, error.status_code)


def prediction_json(prediction: Predicted, image: torch.Tensor) -> dict[str, Any]:
    """Return a prediction as JSON values: those of its task, its line of text, and boxes or points to draw.

    The entry "picture" is the picture with the mask drawn over it, or the colorized picture, as the data URI of a PNG.
    """
    geometry = {"boxes": prediction.boxes, "scores": prediction.scores, "points": prediction.points}
    drawable = {key: value.tolist() for key, value in geometry.items() if value is not None}
    picture_entry = {}
    if prediction.boxes is None and (prediction.mask is not None or prediction.image is not None):
        pixels = prediction.overlay(image).permute(1, 2, 0).contiguous().numpy()
        picture_entry = {"picture": data_uri(Image.fromarray(pixels))}
    labels = {} if prediction.labels is None else {"labels": list(prediction.labels)}
    values = {key: value for key, value in prediction.values.items() if key not in ("image", "files")}
    return {**values, "line": prediction.line, **drawable, **labels, **picture_entry}
