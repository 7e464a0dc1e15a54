"""The task of translation: photos generated from label maps, and their evaluation."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pellucid.base.text import plural
from pellucid.task import Evaluation, TargetChange, Task, Traced
from pellucid.tasks.baseline import baseline_table

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.model import Model


class Translation(Task):
    """A photo for each label map."""

    name: ClassVar[str] = "translation"
    model: ClassVar[str] = "translator from label maps to photos"

    def trains(self, objective: Any) -> bool:
        """Return whether an objective trains models that generate photos from label maps."""
        from pellucid.generators import Translator

        return isinstance(objective, Translator) and not objective.predicts_colours

    def examples(self, objective: Any, source: Any, name: str) -> Any:
        """Return a source whose inputs are the label maps of masks, and whose targets are the photos."""
        from pellucid.data.source import LabelMaps

        return LabelMaps.from_source(source, name)

    def target_changes(
        self, model: "Model", images: "Sequence[Tensor]", targets: Sequence[Any], outputs: Sequence[Any] | None
    ) -> Sequence[TargetChange]:
        """Return the flips and the shift of the targets that their edges suggest."""
        from pellucid.tasks.translate.doctor import target_changes

        return target_changes(targets, outputs)

    def traced(self, model: "Model", x: Any, target: Any) -> Traced:
        """Return the network of a regression with its loss; for pix2pix, both networks with the adversarial loss."""
        from pellucid.tasks.translate.traced import translator_network

        return translator_network(model, x, target)

    def evaluate(self, model: "Model", name: str, data: str | None, **options: Any) -> Evaluation:
        """Return PSNR, SSIM and the Frechet distance of tiles, with the mean colours of the labels as the baseline."""
        from pellucid.tasks.translate.measure import FLAT, METRIC_DESCRIPTIONS, evaluate
        from pellucid.training.distributed import processes

        evaluation = evaluate(model, data, processes())
        return Evaluation(evaluation, [
            f"on {plural(evaluation['n'], 'photo')} of {evaluation['data']}; frechet is over "
            f"{evaluation['n_tiles']:,} tiles",
            *baseline_table(evaluation, METRIC_DESCRIPTIONS, "photos", FLAT),
        ])  # fmt: skip
