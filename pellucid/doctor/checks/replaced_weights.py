"""Weights that are not those of the last epoch, such as those of another epoch or an average that lags behind."""

from math import isfinite

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Evidence, Finding

MIN_LOSS_RATIO = 1.5  # loss of the model divided by that after the last epoch, on training and on validation data
MIN_PART = 0.1  # of the range of the epochs' validation losses, by which the model's is higher than the last one
MAX_DIFFERENCE = 0.05  # of a loss, relative to that of an epoch whose weights the model may have


def find(case: Case) -> list[Finding]:
    """Compare the model's losses with those of the last epoch in the history."""
    losses, train_losses = case.column("val_loss"), case.column("train_loss")
    if not losses or not train_losses or case.validation_predictions is None:
        return []
    loss, last = case.validation_predictions.loss, losses[-1]
    nearest = min(range(len(losses)), key=lambda epoch: abs(losses[epoch] - loss))
    is_of_epoch = abs(losses[nearest] - loss) <= MAX_DIFFERENCE * abs(loss)
    # Other validation data than those of the training also have another loss, but the training data are the same.
    if not (_is_higher(loss, losses) and _is_higher(case.loss, train_losses)) or (
        is_of_epoch and nearest in _best_epochs(case)
    ):
        return []
    evidence: Evidence = {
        "validation_loss": loss, "validation_loss_after_the_last_epoch": last,
        "training_loss": case.loss, "training_loss_in_the_last_epoch": train_losses[-1],
    }  # fmt: skip
    if is_of_epoch:
        evidence["epoch_with_this_loss"] = nearest + 1
    return [
        Finding(
            NAME,
            "training",
            evidence,
            cause="the weights are not those of the last epoch, after which the loss was much lower",
            fix="find out what replaces them: a checkpoint of the worst epoch, an average that lags behind, or an old "
            "file",
        )
    ]


def _is_higher(loss: float, losses: list[float]) -> bool:
    """Return whether a loss is clearly higher than the last one of the epochs."""
    last, finite = losses[-1], [value for value in losses if isfinite(value)]
    return isfinite(last) and loss - last > max(
        (MIN_LOSS_RATIO - 1) * abs(last), MIN_PART * (max(finite) - min(finite))
    )


def _best_epochs(case: Case) -> set[int]:
    """Return the index of the first best epoch by each measure of the validation data, whose weights are often kept."""
    names = case.history.rows[0] if case.history else ()
    columns = {name: case.column(name) for name in names if name.startswith("val_")}
    return {values.index(min(values) if name == "val_loss" else max(values)) for name, values in columns.items()}


NAME = "replaced-weights"
CHECK = Check(
    NAME, find, trained=True, finds_faults=True, explains=("underfitting",),
)  # fmt: skip
