"""Confidence in nonsense.

For every input, a classifier of digits gives each of the ten digits a probability, and predicts the most probable one,
often with a high probability even if the input is no digit. This lesson measures the confidence of a network on noise
and on shuffled images, before and after calibration. Temperature scaling (Guo et al. 2017) divides the logits, the sums
before the softmax, by one number, the temperature, chosen such that 80 of 100 predictions with a confidence of 80 % are
right. This holds for images like the training data; for other inputs nothing is guaranteed.

With MNIST, the first step uses the pretrained `mnist-lenet`, and the overconfident network is trained on 1,000 images.
Without MNIST, and in the small form, which the documentation shows, all steps use one network that is trained on
scikit-learn's 8x8 digits.
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from pellucid import Model, shipped_files
from pellucid.calibration.confidence import Confidence, fit_temperature
from pellucid.data.dataset import float_images
from pellucid.lessons.digits import handwritten
from pellucid.lessons.guide import Exercise, FunctionExercise, Guess, Guide, Slider
from pellucid.lessons.lesson import LessonSettings, Result
from pellucid.metrics import accuracy, calibration_error, reliability
from pellucid.models import mlp
from pellucid.report.figures.classes import reliability_diagram
from pellucid.report.figures.pictures import sheet


@cache
def train_and_predict_halves(settings: LessonSettings) -> tuple[Model, tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return a network trained on 1,000 images, and (probabilities, classes) for each half of the test images.

    It has 100 hidden ReLUs and is trained for 60 epochs with Adam, on 200 images in the small form.
    """
    splits = handwritten(settings, 200 if settings.small else 1000)
    model = Model(mlp((splits.train.x[0].numel(), 100, 10), "relu", init_weight="he"), seed=settings.seed)
    model.fit(splits.train, epochs=60, batch_size=5, verbose=False)
    p, y = model.predict(splits.test), splits.test.y
    return model, (p[::2], y[::2]), (p[1::2], y[1::2])


def images_and_nonsense(images: Tensor, seed: int) -> dict[str, Tensor]:
    """Return images (N, 1, H, W), the same images with shuffled pixels, and uniform noise of the same shape."""
    rng = torch.Generator().manual_seed(seed)
    pixel_orders = torch.stack([torch.randperm(images[0].numel(), generator=rng) for _ in images])
    shuffled = images.flatten(1).gather(1, pixel_orders).view(images.shape)
    return {"test images": images, "shuffled": shuffled, "noise": torch.rand(images.shape, generator=rng)}


def nonsense(settings: LessonSettings, brightness: float = 1.0) -> Result:
    """Noise and shuffled images.

    The confidence is the probability of the predicted class. Shuffled test images, whose pixels are permuted at random,
    and uniform noise contain no digit, so a high confidence is not justified. The brightness multiplies their pixels.
    The text above each image is the predicted class and its probability in per cent.
    """
    splits = handwritten(settings)
    if splits.train.name == "mnist":
        model = Model.load(shipped_files.pretrained_file("mnist-lenet"))
    else:
        model, *_ = train_and_predict_halves(settings)
    sheet_images: list[Tensor] = []
    titles: list[str] = []
    numbers: dict[str, object] = {"data": splits.train.name}
    for kind, images in images_and_nonsense(float_images(splits.test.x[:1000]), settings.seed).items():
        shown_images = images if kind == "test images" else brightness * images
        confidence, predicted = model.predict(shown_images).max(1)
        numbers[kind] = {
            "mean confidence": confidence.mean().item(),
            "share above 0.9": (confidence > 0.9).double().mean().item(),
        }
        sheet_images.append(shown_images[:8, 0])
        titles += [f"{label}: {100 * p:.0f} %" for label, p in zip(predicted[:8], confidence[:8], strict=True)]
    title = "test images, shuffled images, noise"
    return Result(numbers, sheet(torch.cat(sheet_images), title, titles, signed=False, columns=8))


def reliability_result(p: Tensor, y: Tensor) -> Result:
    """Return accuracy, mean confidence and expected calibration error, and the reliability diagram."""
    bins = reliability(y, p)
    numbers = {"accuracy": accuracy(y, p.argmax(1)), "mean confidence": p.amax(1).mean().item(), "ECE": bins.error}
    return Result(numbers, reliability_diagram(bins.count, bins.confidence, bins.accuracy, bins.error))


def overconfident(settings: LessonSettings, chosen_temperature: float = 1.0) -> Result:
    """An overconfident network.

    A network that is trained on 1,000 images until it makes no mistake on them has a confidence near 1 in nearly every
    prediction. The diagram groups the test images by confidence: where the accuracy of a bin, its dark line, lies below
    the diagonal, the network is overconfident. The expected calibration error (ECE) is the mean distance between
    accuracy and confidence of the bins, weighted by their numbers of images. The temperature is 1 unless another one is
    chosen.
    """
    _, _, (p, y) = train_and_predict_halves(settings)
    if chosen_temperature != 1:
        p = Confidence(chosen_temperature, threshold=0.0).calibrate(p)
    return reliability_result(p, y)


def temperature(settings: LessonSettings) -> Result:
    """Temperature scaling.

    The calibrated probabilities are softmax(z / T). The temperature T minimizes the negative log-likelihood on one half
    of the test images; the results are measured on the other half. T above 1 lowers every confidence but changes no
    predicted class, so the accuracy is unchanged and the ECE falls. The confidence in nonsense falls too, but nonsense
    is not recognized.
    """
    model, fitting_half, (p, y) = train_and_predict_halves(settings)
    confidence = Confidence(fit_temperature(*fitting_half), threshold=0.0)
    calibrated_result = reliability_result(confidence.calibrate(p), y)
    numbers = {
        "temperature": confidence.temperature,
        "ECE before": calibration_error(y, p),
        **calibrated_result.numbers,
    }
    images = float_images(handwritten(settings).test.x[:1000])
    for kind, batch in images_and_nonsense(images, settings.seed).items():
        probabilities = model.predict(batch)
        before_and_after = (probabilities, confidence.calibrate(probabilities))
        numbers[f"{kind}: mean confidence before and after"] = [p.amax(1).mean().item() for p in before_and_after]
    return Result(numbers, calibrated_result.figure)


STEPS = (nonsense, overconfident, temperature)
GUIDE = Guide(
    question='A network says "99 % a seven". May one believe it?',
    minutes=12,
    needs=("softmax", "overfitting"),
    guesses={
        "nonsense": Guess(
            "A digit network is shown noise. What does it answer, of ten possible digits?",
            (
                "about 10 % for each digit",
                "often one digit with more than half of the probability",
                "that there is no digit",
            ),
            1,
            'It has only learned to tell digits apart. It cannot answer "none", and noise favours some digit by '
            "chance.",
        ),
        "overconfident": Guess(
            "Of all answers that the network gives with 95 % confidence, how many are right?",
            ("95 %", "fewer", "more"),
            1,
            "It was trained until it was certain of all training images; other images do not deserve this certainty.",
        ),
        "temperature": Guess(
            "All probabilities are softened by a temperature. How many predicted digits change?",
            ("none", "a few per cent", "those that were wrong"),
            0,
            "Dividing all logits by one number keeps their order, so the largest one stays the largest.",
        ),
    },
    sliders={
        "nonsense": (
            Slider(
                "brightness",
                "brightness of the nonsense",
                (0.1, 0.5, 1.0, 2.0, 4.0),
                {
                    0.1: "Nearly black: little speaks for any digit.",
                    4.0: "Brighter than any image. The further away from what it knows, the surer the network is.",
                },
            ),
        ),
        "overconfident": (
            Slider(
                "chosen_temperature",
                "temperature T",
                (0.5, 0.8, 1.0, 1.3, 2.0, 4.0),
                {
                    0.5: "Even surer of itself, with the same answers: the ECE rises.",
                    1.3: "Near the temperature that the next step finds.",
                    4.0: "Too modest: the answers are right more often than it says.",
                },
            ),
        ),
    },
    notices={
        "nonsense": (
            "Compare the percentages above the first row with those above the other two. The digits get the higher "
            "ones on average, but single shuffled images get as much as digits.",
            "The same few digits are named again and again in the rows of nonsense: they are the network's answer to "
            "pixels without order.",
        ),
        "overconfident": (
            "Look at the dark line on each bar: where it is below the dashed diagonal, the network promised more than "
            "it held. Orange shows by how much.",
            "The lower plot counts the images. Most are in the last bin; bins with few images say little.",
        ),
        "temperature": (
            "Compare with the figure before: the dark lines are nearer to the diagonal where most images are, and the "
            "last bin in the lower plot has lost images to the others.",
            "In the numbers, nonsense is still called a digit with more than half of the probability: a temperature "
            "makes a network modest, but does not make it see that there is no digit.",
        ),
    },
    notice_plots={"overconfident": ((0,), (1,))},
    exercises=(
        Exercise(
            "Two logits are 2 and 0. What is the larger probability at the temperature 2? (two decimals)",
            0.73,
            0.01,
            "softmax(1, 0): e / (e + 1) = 2.718 / 3.718 = 0.73.",
            {0.88: "That is the probability at the temperature 1.", 0.98: "That is T = 1/2: divide by T."},
        ),
        Exercise(
            "100 images have the confidence 0.9, and 70 of them are right; 300 have 0.6, and 180 are right. How large "
            "is the ECE? (two decimals)",
            0.05,
            0.001,
            "The distances are 0.2 and 0, their mean weighted by 100 and 300 images is 0.2 / 4.",
            {0.1: "That is the mean without the weights.", 0.2: "That is the distance of the first bin alone."},
        ),
    ),
    functions={
        "calibrate": FunctionExercise(
            "calibrate(p, t): the probabilities (C,) at the temperature t, from the probabilities p (C,) at 1.",
            lambda p, t: p ** (1 / t) / (p ** (1 / t)).sum(),
            lambda random: (random.dirichlet(np.ones(4)), float(random.uniform(0.5, 3))),
            "def calibrate(p, t):\n    e = np.exp(np.log(p) / t)\n    return e / e.sum()",
        )
    },
    later="`pellucid` calibrates classifiers in this way, and calls an answer below a threshold unsure.",
    studio="#draw",
)
