"""What is shown of a multi-label classifier for a picture: the probability of each label, and its threshold."""

from collections.abc import Mapping, Sequence
from typing import Any

from pellucid.task.look import NO_VALUES, Hint, Look, LookControl, NumberBar, Shown
from pellucid.tasks.multilabel.report import thresholds_of
from pellucid.tasks.pictures import class_names

MAX_CONTROLS = 12  # labels that each have a control; above, one control shifts all thresholds
SHIFT = "shift"  # the name of that control


class LabelLook(Look):
    """The labels of a picture."""

    def __init__(self, task: Any, model: Any) -> None:
        super().__init__(task, model)
        self.thresholds = dict(zip(class_names(model), thresholds_of(model).tolist(), strict=True))

    @property
    def controls(self) -> Sequence[LookControl]:
        """The threshold of each label, or one shift of all thresholds."""
        if len(self.thresholds) > MAX_CONTROLS:
            return (LookControl(SHIFT, "Shift of all thresholds", 0.0, low=-1.0),)
        return [LookControl(name, f"Threshold of {name}", value) for name, value in self.thresholds.items()]

    def shown(self, values: Mapping[str, float] = NO_VALUES, hints: Sequence[Hint] = ()) -> Shown:
        """Return the labels whose probability is at least the threshold, and all probabilities."""
        assert self.predicted is not None
        if len(self.thresholds) > MAX_CONTROLS:
            shift = self.value(values, SHIFT)
            thresholds = {name: threshold + shift for name, threshold in self.thresholds.items()}
        else:
            thresholds = {**self.thresholds, **values}
        probabilities = self.predicted.values["probabilities"]
        bars = [NumberBar(name, probability, thresholds[name]) for name, probability in probabilities.items()]
        labels = [bar.name for bar in bars if bar.threshold is not None and bar.value >= bar.threshold]
        label = ", ".join(labels) or "no label"
        return Shown(label, bars=bars, label=label)
