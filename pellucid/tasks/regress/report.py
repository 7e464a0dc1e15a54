"""The sections of a regression model's report: errors, predicted against true numbers, and the largest errors."""

import torch

from pellucid.data import Source, float_images
from pellucid.data.seeds import generator
from pellucid.model import Model
from pellucid.report.figures.pictures import titled_pictures
from pellucid.report.figures.regression import predicted_values
from pellucid.report.sections import FigurePart, Section, TablePart
from pellucid.task import Reported
from pellucid.tasks.pictures import predict_source
from pellucid.tasks.regress.measure import number_rows, quantities, quantity_rows

MAX_IMAGES = 12  # images with the largest errors in a report
EXPLANATION = (
    "MAE and RMSE are in the unit of the number. R² is 1 for exact predictions and 0 for the mean of the test images. "
    "The last column is the MAE of a constant, the mean of the training images: a model that is no better has learned "
    "nothing."
)


def report(model: Model, test: Source) -> Reported:
    """Return the sections about the errors on the test images."""
    numbers = quantities(model)
    outputs, targets = predict_source(model, test)
    head = ("number", "unit", "MAE", "RMSE", "R²", "MAE of the mean")
    rows = quantity_rows(number_rows(model, outputs, targets))
    plot = predicted_values(targets.numpy(), outputs.numpy(), numbers.labels)
    caption = "Each point is a test image; on the dashed lines, predictions are exact."
    deviations = targets.double().std(0, correction=0).clamp_min(torch.finfo(torch.float32).tiny)
    distances = ((outputs - targets).abs().double() / deviations).amax(1)
    worst_indices = distances.argsort(descending=True)[:MAX_IMAGES].tolist()
    images = (float_images(test.batch(worst_indices, generator(0)).images) * 255).round().to(torch.uint8)
    pictures = [*images.permute(0, 2, 3, 1).expand(-1, -1, -1, 3).numpy()]
    titles = [f"{_numbers(targets[k])} → {_numbers(outputs[k])}" for k in worst_indices]
    worst_caption = (
        f"The {len(worst_indices)} test images with the largest errors: true → predicted {', '.join(numbers.labels)}."
    )
    table = TablePart("Errors on the test images", head, rows, (2, 3, 4, 5))
    alt = f"Predicted against true {', '.join(numbers.labels)}, and residuals"
    worst_alt = f"Images with the largest errors: {'; '.join(titles)}"
    worst_figure = FigurePart("errors", titled_pictures(pictures, titles), worst_alt, worst_caption)
    return Reported([
        Section("numbers", "Number by number", [EXPLANATION, table]),
        Section("predicted", "Predicted against true", [FigurePart("predicted", plot, alt, caption)], wide=True),
        Section("mistakes", "Largest errors", [worst_figure], wide=True),
    ])  # fmt: skip


def _numbers(values: torch.Tensor) -> str:
    return ", ".join(f"{value:.3g}" for value in values.tolist())
