"""Colorization: the Lab components a and b of pictures of any size, predicted from their lightness."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pellucid.base.errors import PellucidError
from pellucid.base.text import plural
from pellucid.predictor import Predictor
from pellucid.task import Command, Evaluation, Explained, Merit, Option, OwnRecipe, Request, Task, Traced
from pellucid.task.score_to_explain import Area, ScoreToExplain
from pellucid.tasks.baseline import baseline_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from pellucid.data import Source
    from pellucid.model import Model
    from pellucid.objective import Objective
    from pellucid.tasks.colorize.look import ColorizerLook


class Colorization(Task):
    """The colours of a grey image."""

    name: ClassVar[str] = "colorization"
    model: ClassVar[str] = "colorizer"
    verb: ClassVar[str] = "colorize"
    merits: ClassVar[tuple[Merit, ...]] = (Merit("psnr", "PSNR", "dB"), Merit("ab_overlap", "overlap of colours"))
    commands: ClassVar[tuple[Command, ...]] = (
        Command(
            "colorize", "colorize grey images and videos, and compare colorizers", "pellucid.tasks.colorize.command"
        ),
    )
    options: ClassVar[Mapping[str, tuple[Option, ...]]] = {
        "explain": (
            Option(
                "pixel",
                "explain the colour of this pixel, counted from 0. Writes maps (lrp, saliency, or --method) of what "
                "its channels a and b depend on, and for pix2pix the patch with the discriminator's lowest score",
                str,
                "ROW,COLUMN",
            ),
        )
    }
    unclassified: ClassVar[str] = "the model outputs colours, no classes; use `pellucid colorize`"

    def objectives(self) -> "Mapping[str, Callable[..., Objective]]":
        """Return the functions of `pellucid.generators`."""
        from pellucid.generators import TRANSLATORS

        return TRANSLATORS

    def trains(self, objective: Any) -> bool:
        """Return whether the models of an objective output colours."""
        from pellucid.generators import Translator

        return isinstance(objective, Translator) and objective.predicts_colours

    def read(self, objective: Any, data: Any, root: Any) -> "tuple[Source, Source] | None":
        """Return the training and the test photos of a folder without class folders, None for other data."""
        from pellucid.tasks.colorize.own import read

        return read(data, root)

    def recipe_for(self, data: str, root: Any) -> OwnRecipe:
        """Return a recipe for photos; their class folders, if any, are ignored."""
        from pellucid.tasks.colorize.own import recipe_for

        return recipe_for(data, root)

    def predictor(self, model: "Model", out: Path | None = None) -> Predictor:
        """Return a predictor of colours, which are written into the folder `out`."""
        from pellucid.tasks.colorize.predictor import ColorPredictor

        return ColorPredictor(model, out, strength=1.0, hints={}, title="Colorized")

    def explain(self, model: "Model", request: Request, **options: Any) -> Explained:
        """Explain the colour of the pixel given by `--pixel`."""
        from pellucid.tasks.colorize.why import explain_file

        if "pixel" not in options:
            raise PellucidError("the model is a colorizer; give a pixel with --pixel ROW,COLUMN")
        if request.target is not None:
            raise PellucidError("--target does not apply to --pixel; leave it out")
        return explain_file(model, request, options["pixel"])

    def resize_to_input(self, model: "Model", image: "Tensor") -> "Tensor":
        """Return a picture resized to the network's input."""
        from pellucid.tasks.colorize.colorizer import Colorizer

        return Colorizer(model).as_input(image[:3])

    def area_to_explain(self, model: "Model", image: "Tensor", **options: Any) -> Area | None:
        """Return the area of the pixel given by `--pixel`."""
        from pellucid.tasks.colorize.why import area_of_pixel

        return area_of_pixel(model, image, options["pixel"]) if "pixel" in options else None

    def score_to_explain(
        self, model: "Model", x: "Tensor", choice: str | None = None, area: Area | None = None
    ) -> ScoreToExplain:
        """Return the score "a" or "b" (a colour channel) of the pixel at the centre of an area, or of the picture."""
        from pellucid.tasks.colorize.why import pixel_to_explain

        return pixel_to_explain(model, x, choice, area)

    def look(self, model: "Model") -> "ColorizerLook":
        """Return the colorized picture, with the strength as a control, and hints if the model takes them."""
        from pellucid.tasks.colorize.look import ColorizerLook

        return ColorizerLook(self, model)

    def traced(self, model: "Model", x: Any, target: Any) -> Traced:
        """Return the network of a regression with its loss; for pix2pix, both networks with the adversarial loss."""
        from pellucid.tasks.translate.traced import translator_network

        return translator_network(model, x, target)

    def evaluate(self, model: "Model", name: str, data: str | None, **options: Any) -> Evaluation:
        """Return PSNR and other metrics of the colours, compared with grey images as the baseline."""
        from pellucid.tasks.colorize.measure import GREY, METRIC_DESCRIPTIONS, evaluate
        from pellucid.training.distributed import processes

        evaluation = evaluate(model, data, processes())
        return Evaluation(evaluation, [
            f"on {plural(evaluation['n'], 'image')} of {evaluation['data']}; answers and frechet are over "
            f"{evaluation['n_judged']:,} of them",
            *baseline_table(evaluation, METRIC_DESCRIPTIONS, "colours", GREY),
        ])  # fmt: skip
