"""Confidence in nonsense.

A classifier of digits predicts one of ten digits for every input, often with a high probability even if the input is no
digit. This lesson measures the confidence of a network on noise and on shuffled images, before and after calibration.
Temperature scaling (Guo et al. 2017) divides the logits by one number, chosen such that 80 of 100 predictions with a
confidence of 80 % are right. This holds for images like the training data; for other inputs nothing is guaranteed.

With MNIST, the first step uses the pretrained `mnist-lenet`, and the overconfident network is trained on 1,000 images.
Without MNIST, and in the small form, which the documentation shows, all steps use one network that is trained on
scikit-learn's 8x8 digits.
"""

from functools import cache

import torch
from torch import Tensor

from pellucid import Model, shipped_files
from pellucid.calibration.confidence import Confidence, fit_temperature
from pellucid.data.dataset import float_images
from pellucid.lessons.digits import handwritten
from pellucid.lessons.lesson import Result, Setting
from pellucid.metrics import accuracy, calibration_error, reliability
from pellucid.models import mlp
from pellucid.report.figures.classes import reliability_diagram
from pellucid.report.figures.pictures import sheet


@cache
def train_and_predict_halves(setting: Setting) -> tuple[Model, tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return a network trained on 1,000 images, and (probabilities, classes) for each half of the test images.

    It has 100 hidden ReLUs and is trained for 60 epochs with Adam, on 200 images in the small form.
    """
    splits = handwritten(setting, 200 if setting.small else 1000)
    model = Model(mlp((splits.train.x[0].numel(), 100, 10), "relu", init_weight="he"), seed=setting.seed)
    model.fit(splits.train, epochs=60, batch_size=5, verbose=False)
    p, y = model.predict(splits.test), splits.test.y
    return model, (p[::2], y[::2]), (p[1::2], y[1::2])


def images_and_nonsense(images: Tensor, seed: int) -> dict[str, Tensor]:
    """Return images (N, 1, H, W), the same images with shuffled pixels, and uniform noise of the same shape."""
    rng = torch.Generator().manual_seed(seed)
    pixel_orders = torch.stack([torch.randperm(images[0].numel(), generator=rng) for _ in images])
    shuffled = images.flatten(1).gather(1, pixel_orders).view(images.shape)
    return {"test images": images, "shuffled": shuffled, "noise": torch.rand(images.shape, generator=rng)}


def nonsense(setting: Setting) -> Result:
    """Noise and shuffled images.

    The confidence is the probability of the predicted class. Shuffled test images, whose pixels are permuted at random,
    and uniform noise contain no digit, so a high confidence is not justified. The text above each image is the
    predicted class and its probability in per cent.
    """
    splits = handwritten(setting)
    if splits.train.name == "mnist":
        model = Model.load(shipped_files.pretrained_file("mnist-lenet"))
    else:
        model, *_ = train_and_predict_halves(setting)
    sheet_images: list[Tensor] = []
    titles: list[str] = []
    numbers: dict[str, object] = {"data": splits.train.name}
    for kind, images in images_and_nonsense(float_images(splits.test.x[:1000]), setting.seed).items():
        confidence, predicted = model.predict(images).max(1)
        numbers[kind] = {
            "mean confidence": confidence.mean().item(),
            "share above 0.9": (confidence > 0.9).double().mean().item(),
        }
        sheet_images.append(images[:8, 0])
        titles += [f"{label}: {100 * p:.0f} %" for label, p in zip(predicted[:8], confidence[:8], strict=True)]
    title = "test images, shuffled images, noise"
    return Result(numbers, sheet(torch.cat(sheet_images), title, titles, signed=False, columns=8))


def reliability_result(p: Tensor, y: Tensor) -> Result:
    """Return accuracy, mean confidence and expected calibration error, and the reliability diagram."""
    bins = reliability(y, p)
    numbers = {"accuracy": accuracy(y, p.argmax(1)), "mean confidence": p.amax(1).mean().item(), "ECE": bins.error}
    return Result(numbers, reliability_diagram(bins.count, bins.confidence, bins.accuracy, bins.error))


def overconfident(setting: Setting) -> Result:
    """An overconfident network.

    A network that is trained on 1,000 images until it makes no mistake on them has a confidence near 1 in nearly every
    prediction. The diagram groups the test images by confidence: where the accuracy of a bin, its dark line, lies below
    the diagonal, the network is overconfident. The expected calibration error (ECE) is the mean distance between
    accuracy and confidence of the bins, weighted by their numbers of images.
    """
    _, _, evaluation_half = train_and_predict_halves(setting)
    return reliability_result(*evaluation_half)


def temperature(setting: Setting) -> Result:
    """Temperature scaling.

    The calibrated probabilities are softmax(z / T). The temperature T minimizes the negative log-likelihood on one half
    of the test images; the results are measured on the other half. T above 1 lowers every confidence but changes no
    predicted class, so the accuracy is unchanged and the ECE falls. The confidence in nonsense falls too, but nonsense
    is not recognized.
    """
    model, fitting_half, (p, y) = train_and_predict_halves(setting)
    confidence = Confidence(fit_temperature(*fitting_half), threshold=0.0)
    calibrated_result = reliability_result(confidence.calibrate(p), y)
    numbers = {
        "temperature": confidence.temperature,
        "ECE before": calibration_error(y, p),
        **calibrated_result.numbers,
    }
    images = float_images(handwritten(setting).test.x[:1000])
    for kind, batch in images_and_nonsense(images, setting.seed).items():
        probabilities = model.predict(batch)
        means = [p_of_kind.amax(1).mean().item() for p_of_kind in (probabilities, confidence.calibrate(probabilities))]
        numbers[f"{kind}: mean confidence before and after"] = means
    return Result(numbers, calibrated_result.figure)


STEPS = (nonsense, overconfident, temperature)
