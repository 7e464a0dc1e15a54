"""Key-points of the one object in each picture, such as 68 points of a face."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pellucid.task import Command, Evaluation, Task
from pellucid.text import percent

if TYPE_CHECKING:
    from pellucid.model import Model


class Keypoints(Task):
    """The key-points of one object in each image."""

    name: ClassVar[str] = "keypoints"
    model: ClassVar[str] = "key-point model"
    commands: ClassVar[Mapping[str, Command]] = {
        "keypoints": Command(
            "find the key-points of a face, or of other objects, in images and videos",
            "pellucid.tasks.keypoints.command",
        ),
    }
    unclassified: ClassVar[str] = "the model outputs key-points, no classes; use `pellucid keypoints`"

    def matches(self, model: "Model") -> bool:
        """Return whether a model outputs key-points."""
        from pellucid.tasks.keypoints.finder import is_keypoint_model

        return is_keypoint_model(model)

    def evaluate(self, model: "Model", name: str, data: str | None, **options: Any) -> Evaluation:
        """Return the normalized mean error and its interval."""
        from pellucid.tasks.keypoints.measure import evaluate

        found = evaluate(model, data)
        low, high = map(percent, found["nme_interval"])
        return Evaluation(found, [
            f"normalised mean error {percent(found['nme'])} (95 % interval {low} to {high}) on {found['n']:,} images "
            f"of {found['data']}"
        ])  # fmt: skip
