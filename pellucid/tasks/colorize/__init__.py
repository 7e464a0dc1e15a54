"""Colorization: the Lab components a and b of pictures of any size, predicted from their lightness."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pellucid.errors import PellucidError
from pellucid.task import Command, Evaluation, Predictor, Task
from pellucid.tasks.baseline import beside_baseline
from pellucid.text import note, plural

if TYPE_CHECKING:
    from pellucid.model import Model


class Colorization(Task):
    """The colours of a grey image."""

    name: ClassVar[str] = "colorization"
    models: ClassVar[str] = "colorizers"
    commands: ClassVar[tuple[Command, ...]] = (
        Command(
            "colorize",
            "colorize grey images and videos, and compare colorizers",
            "pellucid.tasks.colorize.command",
        ),
    )

    def trains(self, objective: Any) -> bool:
        """Return whether the models of an objective output colours."""
        from pellucid.generators import Translator

        return isinstance(objective, Translator) and objective.of_colours

    def predictor(self, model: "Model", out: Path | None = None) -> Predictor:
        """Return a predictor of colours, which are written into the folder `out`."""
        from pellucid.tasks.colorize.predictor import ColorPredictor

        if out is None:
            raise PellucidError(
                "colorized pictures are files; give their folder with --out DIR, or use `pellucid colorize`"
            )
        return ColorPredictor(model, out, 1.0, {}, "Colorized")

    def evaluate(self, model: "Model", name: str, data: str | None, **options: Any) -> Evaluation:
        """Return PSNR and other measures of colours, beside grey images; a note on stderr names skipped files."""
        from pellucid.tasks.colorize.measure import FIGURES, GREY, evaluate

        found = evaluate(model, data)
        for message in found["skipped"].values():
            note(message)
        return Evaluation(found, [
            f"on {plural(found['n'], 'image')} of {found['data']}; answers and frechet are over "
            f"{found['n_judged']:,} of them",
            *beside_baseline(found, FIGURES, "colours", GREY),
        ])  # fmt: skip
