"""The DeconvNet.

A trained network says which digit it sees, but not where in the image. A DeconvNet (Zeiler and Fergus 2014) runs the
network backwards: a signal begins at one output and goes back, layer by layer, until it reaches the pixels. What comes
out looks like the gradient, but is not: at each ReLU it follows another rule.
"""

from functools import cache

import torch
from torch import Tensor

from pellucid import Adam, Model, SoftmaxCrossEntropy
from pellucid.combine import Sequential
from pellucid.data import load
from pellucid.layers import Conv2d, Dense, Flatten, MaxPool2d, ReLU
from pellucid.layers.base import Layer, Mode
from pellucid.lessons.guide import Exercise, FunctionExercise, Guess, Guide, Handles, Slider
from pellucid.lessons.lesson import LessonSettings, NumberRows, Result
from pellucid.report.figures import grids
from pellucid.rules import Deconv, Guided
from pellucid.sweep import Rule, backward, forward, own_rule

SUMS = ((2.0, -1.0, 3.0), (-2.0, 1.0, -3.0), (1.0, 4.0, -1.0))  # before the ReLU, on the way forward
SIGNAL = ((1.0, 2.0, -3.0), (-1.0, -2.0, 4.0), (3.0, 1.0, -2.0))  # that arrives at the ReLU on the way back
WINDOWS = ((1.0, 3.0, 2.0, 0.0), (5.0, 2.0, 1.0, 4.0), (0.0, 1.0, 6.0, 2.0), (2.0, 7.0, 3.0, 5.0))
RELU_RULES = {"gradient": own_rule, "DeconvNet": Deconv(), "guided": Guided()}


def rules(settings: LessonSettings, signal: NumberRows = SIGNAL) -> Result:
    """Three ways back through a ReLU.

    On the way forward, the ReLU replaces negative sums by 0. On the way back, three rules decide what remains of the
    signal that arrives from the layer above:

    - the gradient sets the signal to 0 where the sum was negative;
    - the DeconvNet sets it to 0 where the signal itself is negative, whatever the sum was;
    - guided backpropagation does both (Springenberg et al. 2015).
    """
    layer = ReLU()
    sums = torch.tensor(SUMS)
    arriving = torch.tensor(signal, dtype=torch.float32)
    _, relu_cache = layer.forward({}, sums, Mode())
    returned_maps = {}
    for name, rule in RELU_RULES.items():
        dx, _ = rule(layer, {}, relu_cache, arriving)
        returned_maps[name] = dx + 0.0  # -0 becomes 0
    figure = grids.matrix_panels({"sums": sums, "signal": arriving, **returned_maps})
    return Result({name: values.tolist() for name, values in returned_maps.items()}, figure)


def switches(settings: LessonSettings, pixels: NumberRows = WINDOWS) -> Result:
    """Back through max pooling.

    Max pooling keeps the largest value of each window. On the way back, the signal of a window goes to the place where
    its largest value was; all other places get 0. The places are called switches: they are all that the DeconvNet keeps
    of the image. Here the pooled values themselves are sent back.
    """
    layer = MaxPool2d(2)
    image = torch.tensor(pixels, dtype=torch.float32)
    pooled, pool_cache = layer.forward({}, image[None, None], Mode())
    back = layer.backward({}, pool_cache, pooled)[0][0, 0]
    figure = grids.matrix_panels({"pixels": image, "pooled": pooled[0, 0], "sent back": back})
    return Result({"pooled": pooled[0, 0].tolist(), "sent back": back.tolist()}, figure)


@cache
def trained(seed: int) -> tuple[Model, Tensor, Tensor]:
    """Return a network that has learned the digits of scikit-learn, and the test images with their classes."""
    digits = load("digits")
    net = Sequential(
        Conv2d(16, 3, padding=1), ReLU(), MaxPool2d(2), Conv2d(16, 3, padding=1), ReLU(), Flatten(), Dense(10)
    )
    model = Model(net, SoftmaxCrossEntropy(), Adam(0.005), seed=seed)
    model.fit(digits.train.x, digits.train.y, epochs=4, batch_size=32, verbose=False)
    return model, digits.test.x, digits.test.y


def sent_back(model: Model, image: Tensor, target: int, relu_rule: Rule) -> Tensor:
    """Return what reaches the pixels (H, W) of an image (1, 1, H, W) if a signal of 1 begins at a target's score."""

    def rule_of(path: str, layer: Layer) -> Rule:
        return relu_rule if isinstance(layer, ReLU) else own_rule

    scores, net_cache = forward(model.net, model.params, image, Mode())
    signal = torch.zeros_like(scores)
    signal[0, target] = 1.0
    dx, _ = backward(model.net, model.params, net_cache, signal, rule_of)
    return dx[0, 0]


def pictures(settings: LessonSettings, image: int = 1, target: int = 4) -> Result:
    """What speaks for a digit.

    A network with two convolutions learns the 8 x 8 digits for four epochs. The signal begins with 1 at one of its ten
    outputs, the target, and goes back by one of the three rules. In the picture of the gradient, blue pixels raise the
    score of the target if they become brighter, and ochre ones lower it. Each picture has a scale of its own: only the
    pattern can be compared.
    """
    model, x, _ = trained(settings.seed)
    shown_image = x[image : image + 1]
    scores = model(shown_image)[0]
    maps = {name: sent_back(model, shown_image, target, rule) for name, rule in RELU_RULES.items()}
    gradient = maps["gradient"].flatten()
    numbers = {
        "predicted": int(scores.argmax()),
        "score of the target": float(scores[target]),
        "correlation with the gradient": {
            name: float(torch.corrcoef(torch.stack([gradient, values.flatten()]))[0, 1])
            for name, values in maps.items()
        },
    }
    panels = {name: values / values.abs().max() for name, values in maps.items()}
    return Result(numbers, grids.image_panels({"image": shown_image[0, 0], **panels}, columns=4, maps=[*panels]))


STEPS = (rules, switches, pictures)
GUIDE = Guide(
    question="Can a network be run backwards, so that it shows in the image what it has seen?",
    minutes=15,
    needs=("backprop", "convolution"),
    guesses={
        "rules": Guess(
            "A sum was -1, so its ReLU gave 0. On the way back a signal of 2 arrives. What does the gradient return?",
            ("2", "0", "-2"),
            1,
            "A small change of the sum does not change the output, which stays 0. The DeconvNet would return 2.",
        ),
        "switches": Guess(
            "Max pooling makes four numbers of sixteen. How many of the sixteen can be restored from the four and "
            "their places?",
            ("none", "four", "all"),
            1,
            "The largest number of each window goes back to its place. The others are lost.",
        ),
    },
    sliders={
        "pictures": (
            Slider(
                "image",
                "number of the test image",
                (1, 2, 4, 11),
                {1: "A 4.", 2: "An 8.", 4: "A 7, which the network takes for a 4.", 11: "A 2."},
            ),
            Slider("target", "digit at whose score the signal begins", (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)),
        ),
    },
    notices={
        "rules": (
            "Look for the cells in which the gradient and the DeconvNet differ. Where the sum was negative, only the "
            "gradient is 0; where the signal is negative, only the DeconvNet is.",
            "Guided backpropagation keeps a signal only where both are positive, so nothing that it returns is "
            "negative.",
            "Drag a number of the signal below 0 and watch which of the three matrices follow.",
        ),
        "switches": (
            "Every window of 2 x 2 has one number on the right, at the place of its largest pixel.",
            "Drag another pixel of a window up: when it becomes the largest, the number jumps to its place.",
        ),
        "pictures": (
            "The DeconvNet and guided backpropagation give calmer pictures than the gradient, and resemble each other "
            "more than the gradient.",
            "Choose another target for the same image. The gradient changes a lot, the other two keep more of their "
            "pattern. They show the strokes of the image rather than the reasons for a class.",
        ),
    },
    notice_plots={
        "rules": ((2, 3), (4,), (1, 2, 3, 4)),
        "switches": ((2,), (0, 2)),
        "pictures": ((2, 3), (1,)),
    },
    exercises=(
        Exercise(
            "The sums before a ReLU were 3, -1 and 2; the signals -4, 5 and 1 arrive. What is the sum of the three "
            "numbers that the DeconvNet returns?",
            6,
            0.01,
            "0, 5 and 1: only the signal's own sign counts.",
            {-3: "That is the gradient: -4, 0 and 1.", 1: "That is guided backpropagation: 0, 0 and 1."},
        ),
        Exercise(
            "A map of 8 x 8 is pooled by windows of 2 x 2. How many of its 64 places get 0 on the way back, if no two "
            "pixels of a window are equal and all signals differ from 0?",
            48,
            0.1,
            "There are 16 windows, each with one place that gets its signal: 64 - 16 = 48.",
            {16: "These are the places that do not get 0.", 60: "Count the windows: 4 x 4."},
        ),
    ),
    handles={
        "rules": Handles("signal", "the numbers of the signal", "cells", SIGNAL, -9, 9, 1, plot=1),
        "switches": Handles("pixels", "the pixels", "cells", WINDOWS, 0, 9, 1),
    },
    functions={
        "guided": FunctionExercise(
            "guided(z, dy): what guided backpropagation returns at a ReLU with the sums z (N,) for a signal dy (N,).",
            lambda z, dy: dy * ((z > 0) & (dy > 0)),
            lambda random: (random.normal(size=8), random.normal(size=8)),
            "def guided(z, dy):\n    return np.where(z > 0, np.maximum(dy, 0), 0)",
        )
    },
    later="The studio's view Explain shows these pictures for every network, beside methods that keep the score's sum.",
    studio="#explain",
)
