"""The numbers that a model predicts, their units, and their errors on the images of a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.metrics import MAE, R2, RMSE
from pellucid.model import Model
from pellucid.operators import AffineMap
from pellucid.tasks.annotated import about_table, held_out_part
from pellucid.tasks.pictures import predict_source


@dataclass(frozen=True)
class Quantities:
    """The numbers that a model predicts: their names, and their units, "" for none."""

    names: tuple[str, ...]
    units: tuple[str, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The names with the units, such as "weight (kg)"."""
        return tuple(f"{name} ({unit})" if unit else name for name, unit in zip(self.names, self.units, strict=True))

    def text(self, k: int, value: float) -> str:
        """Return number k with its name and unit, such as "weight 3.2 kg"."""
        return f"{self.names[k]} {value:.4g} {self.units[k]}".rstrip()


def quantities(model: Model) -> Quantities:
    """Return the numbers that a model predicts; raises PellucidError if its file names other counts of them."""
    table_info, n_outputs = about_table(model), int(model.output_shape[0])
    numbers = Quantities(tuple(table_info["names"]), tuple(table_info["units"]))
    if not len(numbers.names) == len(numbers.units) == n_outputs:
        raise PellucidError(
            f"preprocess: {len(numbers.names)} names and {len(numbers.units)} units for {n_outputs} outputs; train the "
            "model again"
        )
    return numbers


def training_means(model: Model) -> list[float]:
    """Return the mean of each number in the training data, which the network's last layer adds; 0 without one."""
    head = getattr(model.net, "children", {}).get("head")
    last_layer = getattr(head, "children", {}).get("units")
    if isinstance(last_layer, AffineMap) and isinstance(last_layer.shift, tuple):
        return [*last_layer.shift]
    return [0.0] * int(model.output_shape[0])


def evaluate(model: Model, data: str | None) -> dict[str, Any]:
    """Evaluate a model on the images of `held_out_part`.

    Returns mae, rmse and r2 over all numbers, as in scikit-learn, the loss, n, the path of the data, and for each
    number its name, unit, mae, rmse, r2, and `mae_of_mean`: the MAE of predicting the mean of the training data.
    """
    part = held_out_part(model, data)
    outputs, targets = predict_source(model, part)
    return {
        **errors(outputs, targets),
        "loss": float(model.evaluate(part)["loss"]),
        "n": len(part),
        "data": str(part.source.tree.path),  # type: ignore[attr-defined]  # of TableImages
        "numbers": number_rows(model, outputs, targets),
    }


def errors(outputs: Tensor, targets: Tensor) -> dict[str, float]:
    """Return mae, rmse and r2 of predictions (N, D)."""
    results: dict[str, float] = {}
    for metric in (MAE(), RMSE(), R2()):
        metric.update(outputs, targets)
        results |= metric.compute()
    return results


def number_rows(model: Model, outputs: Tensor, targets: Tensor) -> list[dict[str, Any]]:
    """Return the errors of each number; see `evaluate`."""
    numbers, means = quantities(model), training_means(model)
    rows: list[dict[str, Any]] = []
    for k, (name, unit, mean) in enumerate(zip(numbers.names, numbers.units, means, strict=True)):
        number_errors = errors(outputs[:, k : k + 1], targets[:, k : k + 1])
        mae_of_mean = float((targets[:, k].double() - mean).abs().mean())
        rows.append({"number": name, "unit": unit, **number_errors, "mae_of_mean": mae_of_mean})
    return rows


def quantity_rows(rows: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Return the errors of each number as rows of a table."""
    columns = ("mae", "rmse", "r2", "mae_of_mean")
    return [(row["number"], row["unit"] or "-", *(f"{row[name]:.4g}" for name in columns)) for row in rows]
