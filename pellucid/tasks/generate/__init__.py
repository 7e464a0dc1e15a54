"""Generation of images: sheets of samples, and their evaluation."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pellucid.task import Command, Evaluation, Task
from pellucid.text import percent

if TYPE_CHECKING:
    from pellucid.model import Model


class Generation(Task):
    """New images like those of the training data."""

    name: ClassVar[str] = "generation"
    model: ClassVar[str] = "generator"
    commands: ClassVar[Mapping[str, Command]] = {
        "generate": Command(
            "draw new images with a generator",
            "pellucid.tasks.generate.command",
        ),
    }
    unclassified: ClassVar[str] = "the model generates images and predicts no classes; use `pellucid generate`"

    def matches(self, model: "Model") -> bool:
        """Return whether a model draws images from latent vectors."""
        from pellucid.tasks.generate.measure import is_generator

        return is_generator(model)

    def evaluate(self, model: "Model", name: str, data: str | None, **options: Any) -> Evaluation:
        """Return the variety and the likelihood of samples."""
        from pellucid.tasks.generate.measure import evaluate

        found = evaluate(model, data)
        fit, lines = found.parzen, list[str]()
        if variety := found.variety:
            lines = [
                f"{variety.covered} of {len(variety.shares)} classes among the predictions of {found.classifier}, "
                f"entropy {variety.entropy:.3f} nats, inception score by this classifier {variety.score:.2f}, mean "
                f"confidence {percent(variety.confidence)}",
                f"in features of {found.classifier}: Frechet distance {found.frechet:.3f}, kernel distance "
                f"{found.kid:.3g}, {found.n:,} samples",
            ]
        return Evaluation(found.to_json(), [
            *lines,
            f"Parzen log-likelihood {fit.mean:.1f} ± {fit.error:.1f} nats of {fit.points:,} test images, "
            f"{fit.samples:,} windows of bandwidth {fit.bandwidth:g}, chosen on {fit.chosen:,} other images; "
            "comparable only with estimates of the same kind",
            f"distance to the nearest training image: samples {found.nearest:.2f}, test images "
            f"{found.nearest_test:.2f}, in {found.data}",
        ])  # fmt: skip
