"""Segmentation.

A segmentation network gives every pixel a class: its output is a map, not one answer for the image. This makes three
things different from classification: how results are measured, how the cost treats rare classes, and how a network that
has made its maps small makes them large again.
"""

import torch
from torch import Tensor

from pellucid import Adam, Model, SoftmaxCrossEntropy
from pellucid.combine import Sequential
from pellucid.layers import AvgPool2d, Conv2d, ReLU, Upsample
from pellucid.layers.base import Layer, Mode
from pellucid.lessons.guide import Exercise, FunctionExercise, Guess, Guide, Handles, Slider
from pellucid.lessons.lesson import LessonSettings, NumberRows, Result
from pellucid.report.figures.grids import image_panels
from pellucid.report.figures.objects import Marks, sheet_of_objects
from pellucid.report.figures.style import ORANGE

SIDE = 24  # pixels of the images
PREDICTED = ((4.0, 6.0, 13.0, 14.0),)  # a box: left, top, right, bottom
COLOURS = {"found": (0.0, 0.62, 0.45), "missed": (0.1, 0.5, 0.77), "false alarm": (0.84, 0.37, 0.0)}  # RGB


def measured(true: Tensor, predicted: Tensor) -> dict[str, float]:
    """Return the measures of a predicted mask beside the true one, both bool of any shape, neither empty nor full."""
    n_found = (true & predicted).sum()
    n_missed = (true & ~predicted).sum()
    false_alarms = (~true & predicted).sum()
    background = (~true & ~predicted).sum()
    return {
        "pixel accuracy": float((true == predicted).float().mean()),
        "IoU of the object": float(n_found / (n_found + n_missed + false_alarms)),
        "IoU of the background": float(background / (background + n_missed + false_alarms)),
        "Dice": float(2 * n_found / (2 * n_found + n_missed + false_alarms)),
    }


def measures(settings: LessonSettings, side: int = 8, predicted: NumberRows = PREDICTED) -> Result:
    """Why accuracy is not enough.

    The object is a square in an image of 24 x 24 pixels; the box is what a network predicts. Pixel accuracy counts the
    pixels with the right class. IoU is the number of pixels in both masks divided by the number in either of them, for
    each class; its mean over the classes is the usual measure. Dice is 2 · both / (one + other). The last rows show the
    measures of a network that finds nothing at all.
    """
    true = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    true[8 : 8 + side, 8 : 8 + side] = True
    left, top, right, bottom = (round(number) for number in predicted[0])
    mask = torch.zeros_like(true)
    mask[top:bottom, left:right] = True
    picture = torch.ones(3, SIDE, SIDE)
    parts = {"found": true & mask, "missed": true & ~mask, "false alarm": ~true & mask}
    for name, part in parts.items():
        picture[:, part] = torch.tensor(COLOURS[name])[:, None]
    image = torch.where(true, 0.75, 1.0).expand(3, SIDE, SIDE)
    marks = [Marks(torch.tensor(predicted), torch.zeros(1), colours=[ORANGE]), Marks(torch.zeros(0, 4), torch.zeros(0))]
    titles = ["object and prediction", "green found, blue missed, orange false"]
    numbers = {"prediction": measured(true, mask), "nothing found": measured(true, torch.zeros_like(true))}
    return Result(numbers, sheet_of_objects([image, picture], marks, titles, ()))


def discs(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return noisy images (count, 1, 24, 24) of a disc, and the masks of the discs, integers."""
    rng = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    x = 0.8 * torch.randn(count, 1, SIDE, SIDE, generator=rng)
    y = torch.zeros(count, SIDE, SIDE, dtype=torch.int64)
    for k in range(count):
        row, column = (6 + 12 * torch.rand(2, generator=rng)).tolist()
        is_disc = (rows - row) ** 2 + (columns - column) ** 2 <= 3.5**2
        y[k] = is_disc
        x[k, 0] += is_disc
    return x, y


def learned(settings: LessonSettings, layers: int = 3, weight: float = 1.0) -> Result:
    """A network that finds discs.

    Images of 24 x 24 pixels show a disc in strong noise. A network of convolutions of 3 x 3 gives each pixel two
    scores, for background and disc, and learns by the cross-entropy of every pixel. With one layer, a score depends on
    3 x 3 pixels; each further layer adds two to both sides. The class weight multiplies the cost of the pixels of a
    disc, which are only 7 % of all pixels.
    """
    x, y = discs(96, settings.seed)
    hidden: list[Layer] = []
    for _ in range(layers - 1):
        hidden += [Conv2d(8, 3, padding=1), ReLU()]
    net = Sequential(*hidden, Conv2d(2, 3, padding=1))
    loss = SoftmaxCrossEntropy(class_weights=(1.0, weight))
    model = Model(net, loss, Adam(0.01), metrics=(), seed=settings.seed)
    model.fit(x[:64], y[:64], epochs=10 if settings.small else 40, batch_size=16, verbose=False)
    scores = model(x[64:])
    is_predicted = scores.argmax(1) == 1
    probability = scores.softmax(1)[:, 1]
    panels = {"image": x[64, 0].clamp(0, 1), "disc": y[64].float(), "probability": probability[0]}
    return Result(
        measured(y[64:] == 1, is_predicted), image_panels({**panels, "predicted": is_predicted[0].float()}, 4)
    )


def enlarging(settings: LessonSettings, factor: int = 4) -> Result:
    """Small maps, large masks.

    Pooling makes maps small, so that a few layers see the whole image; the mask has to be as large as the image again.
    Here a perfect mask of a disc is averaged over windows of S x S pixels and enlarged again in two ways: each value is
    repeated, or values between the middles of the windows are interpolated. Then each pixel above one half belongs to
    the disc. What is lost are edges and small parts, which is why U-Net also copies the large maps of its first layers.
    """
    rows, columns = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    true = ((rows - 14.3) ** 2 + (columns - 17.1) ** 2 <= 8.7**2)[None, None]
    reduced_mask, _ = AvgPool2d(factor).forward({}, true.float(), Mode())
    numbers = {}
    blocks = reduced_mask[0, 0].repeat_interleave(factor, 0).repeat_interleave(factor, 1)
    panels = {"disc": true[0, 0].float(), f"averaged, S = {factor}": blocks}
    for kind in ("nearest", "bilinear"):
        large, _ = Upsample(factor, kind=kind).forward({}, reduced_mask, Mode())
        numbers[f"IoU, {kind}"] = measured(true, large > 0.5)["IoU of the object"]
        panels[kind] = (large > 0.5)[0, 0].float()
    return Result(numbers, image_panels(panels, 4))


STEPS = (measures, learned, enlarging)
GUIDE = Guide(
    question="A network can say which pixels belong to an object. When is such an answer good?",
    minutes=15,
    needs=("boxes", "cost"),
    guesses={
        "measures": Guess(
            "An object covers 64 of 576 pixels. A network says that there is no object anywhere. What fraction of the "
            "pixels has it classified correctly?",
            ("none", "11 %", "89 %"),
            2,
            "All 512 pixels of the background are right: 512 / 576 = 0.89. The IoU of the object is 0.",
        ),
        "learned": Guess(
            "In strong noise a single pixel of the disc looks like one of the background. What helps the network most?",
            ("more layers, which see more pixels around it", "a larger weight of the disc in the cost"),
            0,
            "With more layers the network averages over more pixels. A larger weight finds more pixels of the disc, "
            "but raises more false alarms too.",
        ),
        "enlarging": Guess(
            "A perfect mask is averaged over windows of 4 x 4 pixels, and enlarged again. Is it still perfect?",
            ("yes, since the mask was perfect", "no, its edge is lost"),
            1,
            "A window at the edge holds only how much of it belongs to the disc, not which of its pixels.",
        ),
    },
    sliders={
        "measures": (
            Slider(
                "side",
                "side of the object in pixels",
                (2, 4, 8, 12, 16),
                {2: "A network that finds nothing is right for 99 % of the pixels.", 16: "Now it is right for 56 %."},
            ),
        ),
        "learned": (
            Slider(
                "layers",
                "convolutions of 3 x 3",
                (1, 2, 3),
                {1: "A score depends on 3 x 3 pixels, in which noise looks like a disc."},
            ),
            Slider(
                "weight",
                "class weight of the disc",
                (1.0, 3.0, 10.0),
                {10.0: "Each missed pixel costs as much as ten false alarms: the predicted disc is too large."},
            ),
        ),
        "enlarging": (
            Slider("factor", "side S of the windows", (1, 2, 4, 8), {8: "A disc of 17 pixels becomes a few blocks."}),
        ),
    },
    notices={
        "measures": (
            "Drag the box over the object, and watch the three colours on the right. IoU is green divided by all that "
            "is coloured. Dice counts green twice, and is never smaller than IoU.",
            "Compare the pixel accuracy with that of nothing found: at the start the prediction is worse.",
        ),
        "learned": (
            "The disc is hard to see in the image. The probability is a smooth spot, grey at its edge, where the "
            "network is least sure.",
            "Raise the class weight to 10: the predicted disc grows, and the IoU in the numbers falls.",
        ),
        "enlarging": (
            "Repeated values give stairs, interpolated ones a round edge. With S = 8 both have lost the shape.",
        ),
    },
    notice_plots={"measures": ((1,), ()), "learned": ((0, 2), (3,)), "enlarging": ((2, 3),)},
    exercises=(
        Exercise(
            "A mask of 40 pixels is predicted for an object of 60 pixels; 30 pixels are in both. What is the IoU?",
            30 / 70,
            0.005,
            "In either mask are 40 + 60 - 30 = 70 pixels: 30/70 = 0.429.",
            {
                0.6: "That is Dice: 2 · 30 / (40 + 60).",
                0.3: "Count the pixels in both masks only once.",
                0.5: "That is recall, the fraction of the object that is found.",
            },
        ),
        Exercise(
            "The IoU of a mask is 0.5. What is its Dice?",
            2 / 3,
            0.005,
            "Dice = 2 IoU / (1 + IoU) = 1 / 1.5 = 0.667.",
            {0.5: "Only at 0 and at 1 are they equal.", 0.333: "That is the IoU for a Dice of 0.5."},
        ),
    ),
    handles={"measures": Handles("predicted", "the predicted box", "boxes", PREDICTED, 0, SIDE, 1)},
    functions={
        "dice": FunctionExercise(
            "dice(true, predicted): the Dice of two masks, bool arrays (H, W) of which at least one is not empty.",
            lambda true, predicted: 2 * (true & predicted).sum() / (true.sum() + predicted.sum()),
            lambda random: (random.random((6, 7)) < 0.4, random.random((6, 7)) < 0.5),
            "def dice(true, predicted):\n"
            "    both = np.logical_and(true, predicted).sum()\n"
            "    return 2 * both / (np.sum(true) + np.sum(predicted))",
        )
    },
    later="U-Net and FCN, in `pellucid.models`, are such networks for photos; `pellucid train segment` trains them.",
)
