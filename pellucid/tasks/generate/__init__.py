"""The task of generation: new images from latent vectors, and their evaluation."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pellucid.base.errors import PellucidError
from pellucid.base.text import percent
from pellucid.predictor import Predictor
from pellucid.task import Command, Evaluation, HeldOutScores, Reported, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pellucid.doctor.case import Case
    from pellucid.model import Model
    from pellucid.objective import Objective


class Generation(Task):
    """New images that resemble the training data."""

    name: ClassVar[str] = "generation"
    model: ClassVar[str] = "generator"
    commands: ClassVar[tuple[Command, ...]] = (
        Command("generate", "draw new images with a generator", "pellucid.tasks.generate.command"),
    )
    unclassified: ClassVar[str] = "the model generates images and predicts no classes; use `pellucid generate`"

    def objectives(self) -> "Mapping[str, Callable[..., Objective]]":
        """Return the functions of `pellucid.generators`."""
        from pellucid.generators import GENERATORS

        return GENERATORS

    def trains(self, objective: Any) -> bool:
        """Return whether an objective trains generators of images from latent vectors."""
        from pellucid.generators import Generator

        return isinstance(objective, Generator)

    def examples(self, objective: Any, source: Any, name: str) -> Any:
        """Return the images without their targets."""
        from pellucid.data.detection import images_alone

        return images_alone(source)

    def predictor(self, model: "Model", out: Path | None = None) -> Predictor:
        """Raise PellucidError: the inputs of generators are random numbers, not pictures."""
        raise PellucidError("the model generates images and predicts no classes; use `pellucid generate`")

    def samples(self, model: "Model", count: int) -> Any:
        """Return new images; each call returns the same images."""
        from pellucid.tasks.generate.measure import sample

        return sample(model, count)

    def report(self, model: "Model", train: Any, test: Any, folder: Any) -> Reported:
        """Return a section of samples, nothing without training images."""
        from pellucid.tasks.generate.measure import report

        return Reported() if train is None else report(model, train, folder)

    def case(self, model: "Model", x: Any, y: Any, options: Mapping[str, Any]) -> Any:
        """Return the case of a generator."""
        from pellucid.doctor import case_with
        from pellucid.tasks.generate.doctor import with_image_targets

        return with_image_targets(case_with(model, x, y, options))

    def case_of_run(self, run: Path, data: str | None) -> Any:
        """Return the case of a generator with its images."""
        from pellucid.tasks.generate.doctor import case_of_run

        return case_of_run(run, data)

    def case_of_model(self, model: "Model", data: str | None, history: Any = None) -> Any:
        """Return the case of a generator with its own data set or other images."""
        from pellucid.tasks.generate.doctor import case_of_model

        return case_of_model(model, data, history)

    def diagnose(self, case: "Case", attempts: bool, device: Any) -> Any:
        """Run the checks of generators."""
        from pellucid.doctor.examination import examine
        from pellucid.tasks.generate.doctor import CHECKS

        return examine(replace(case, device=device), CHECKS)

    def scores(self, model: "Model", outputs: Sequence[Any], targets: Sequence[Any]) -> HeldOutScores:
        """Return the likeness of the samples (outputs) and the real images (targets)."""
        from pellucid.tasks.generate.doctor.likeness import scores

        return scores(outputs, targets)

    def evaluate(self, model: "Model", name: str, data: str | None, **options: Any) -> Evaluation:
        """Return the variety and the likelihood of samples, and their distances from the training images."""
        from pellucid.tasks.generate.measure import evaluate
        from pellucid.training.distributed import processes

        evaluation = evaluate(model, data, processes())
        likelihood, lines = evaluation.parzen, list[str]()
        if variety := evaluation.variety:
            lines = [
                f"{variety.covered} of {len(variety.shares)} classes among the predictions of {evaluation.classifier}, "
                f"entropy {variety.entropy:.3f} nats, inception score by this classifier {variety.score:.2f}, mean "
                f"confidence {percent(variety.confidence)}",
                f"in features of {evaluation.classifier}: Frechet distance {evaluation.frechet:.3f}, kernel distance "
                f"{evaluation.kid:.3g}, {evaluation.n:,} samples",
            ]
        return Evaluation(evaluation.to_json(), [
            *lines,
            f"Parzen log-likelihood {likelihood.mean:.1f} ± {likelihood.error:.1f} nats of {likelihood.points:,} test "
            f"images, {likelihood.samples:,} windows of bandwidth {likelihood.bandwidth:g}, chosen on "
            f"{likelihood.chosen:,} other images; comparable only with estimates of the same kind",
            f"distance to the nearest training image: samples {evaluation.nearest:.2f}, test images "
            f"{evaluation.nearest_test:.2f}, in {evaluation.data}",
        ])  # fmt: skip
