"""Initial weights.

Before a network learns, its weights are drawn at random from N(0, v): the normal distribution around 0 with the
variance v, whose typical size, the standard deviation, is √v. n_in is the number of inputs of a neuron. How large
should the initial weights be? Weights from N(0, 1) make the weighted sums of a wide layer so large that its sigmoid
neurons start saturated (the sigmoid is flat there) and learn slowly; weights from N(0, 1/n_in) keep the sums near 0
(Nielsen 2015, chapter 3). A ReLU outputs its weighted sum if that is positive, and 0 otherwise. For deep networks of
ReLUs the variance has to be 2/n_in (He et al. 2015).

The networks are trained on MNIST. The small form, which the documentation shows, and any form without MNIST use the 8x8
digits of scikit-learn.
"""

from dataclasses import replace

import torch

from pellucid import Model
from pellucid.data import Splits
from pellucid.layers import Dense, ReLU
from pellucid.layers.base import Mode
from pellucid.lessons.digits import handwritten
from pellucid.lessons.guide import Exercise, Guess, Guide, Slider
from pellucid.lessons.lesson import LessonSettings, Result
from pellucid.losses import BinaryCrossEntropy
from pellucid.models import mlp
from pellucid.optim import SGD
from pellucid.optim.regularizers import L2
from pellucid.report.figures.series import curves, densities, histories


def sums(settings: LessonSettings, ones: int = 500) -> Result:
    """The weighted sum of one neuron.

    500 of a neuron's 1,000 inputs are 1, and 500 are 0. Variances of independent numbers add up. With weights and bias
    from N(0, 1) its weighted sum z has the standard deviation √501 = 22.4: the sigmoid is nearly always saturated. With
    weights from N(0, 1/1000) the standard deviation is √(500/1000 + 1) = 1.22. This step draws 20,000 such neurons.
    """
    x = torch.cat([torch.ones(1, ones), torch.zeros(1, 1000 - ones)], 1)
    z: dict[str, torch.Tensor] = {}
    for name in ("normal", "scaled"):
        layer = Dense(20_000, init_weight=name, init_bias="normal")
        params, _ = layer.init((1000,), torch.Generator().manual_seed(settings.seed))
        z[name] = layer.forward(params, x, Mode())[0][0]
    numbers = {f"standard deviation, {name}": values.std().item() for name, values in z.items()}
    fractions = {name: (values.abs() > 4).double().mean().item() for name, values in z.items()}  # σ'(4) = 0.018
    figure = densities(z, "weighted sum z", (-60, 60))
    return Result(numbers | {"share with |z| > 4": fractions}, figure)


def enlarge_images(splits: Splits, factor: int) -> Splits:
    """Return the images with each pixel repeated `factor` times along both axes."""
    train, test = (
        replace(part, x=part.x.repeat_interleave(factor, -1).repeat_interleave(factor, -2))
        for part in (splits.train, splits.test)
    )
    return replace(splits, train=train, test=test)


def first_epochs(settings: LessonSettings) -> Result:
    """Faster from the first epoch.

    The network 784-30-10 is trained with the cross-entropy, rate 0.1 and L2 regularization with λ = 5 on 50,000 images.
    In the book, the accuracy after the first epoch is 87 % with the large weights and nearly 93 % with the small ones;
    after 30 epochs both are near 96 %. This step trains for 10 epochs. λ is proportional to the number of images. The
    8x8 digits are enlarged to 32x32, because with 64 inputs even weights from N(0, 1) saturate few neurons.
    """
    splits = handwritten(settings)
    if splits.train.x[0].numel() == 64:
        splits = enlarge_images(splits, 4)
    penalty, rows_by_weights = L2(5.0 * len(splits.train) / 50_000), {}
    for name in ("normal", "scaled"):
        net = mlp((splits.train.x[0].numel(), 30, 10), init_weight=name, init_bias="normal")
        model = Model(net, BinaryCrossEntropy(), SGD(0.1), regularizer=penalty, seed=settings.seed)
        history = model.fit(splits.train, epochs=10, batch_size=10, validation=splits.test, verbose=False)
        rows_by_weights[name] = history.rows
    numbers = {"data": splits.train.name, "training images": len(splits.train)} | {
        f"{name}: test accuracy after epochs 1, 2 and 10": [rows[k]["val_accuracy"] for k in (0, 1, -1)]
        for name, rows in rows_by_weights.items()
    }
    return Result(numbers, histories(rows_by_weights, ("train_loss", "val_accuracy")))


def depth(settings: LessonSettings, activation: str = "relu", width: int = 500) -> Result:
    """Thirty layers of ReLUs.

    A weight variance of 1/n_in keeps the mean square of a layer's weighted sums equal to the mean square of its inputs.
    A ReLU then sets half of the sums to 0, which halves the mean square. With `scaled`, it halves in every layer, to
    about 2^-30 after thirty layers. The variance 2/n_in of `he` compensates for this. Each layer has 500 neurons.
    """
    mean_squares: dict[str, list[float]] = {}
    for name in ("scaled", "he"):
        rng = torch.Generator().manual_seed(settings.seed)
        x = torch.randn(200, width, generator=rng, dtype=torch.float64)
        mean_squares[name] = []
        for _ in range(30):
            layer = Dense(width, init_weight=name)
            params, _ = layer.init((width,), rng)
            z, _ = layer.forward({key: value.double() for key, value in params.items()}, x, Mode())
            x = ReLU().forward({}, z, Mode())[0] if activation == "relu" else z
            mean_squares[name].append(z.square().mean().item())
    factors = {name: (values[-1] / values[0]) ** (1 / 29) for name, values in mean_squares.items()}
    figure = curves(mean_squares, "layer", "mean square of the weighted sums", log=True)
    return Result({"factor per layer": factors}, figure)


STEPS = (sums, first_epochs, depth)
GUIDE = Guide(
    question="The first weights are drawn by chance. Does it matter how large they are?",
    minutes=12,
    needs=("cost",),
    guesses={
        "sums": Guess(
            "500 weights and a bias, each about 1 in size and of random sign, are added up. How large is the sum, "
            "typically?",
            ("about 0, since they cancel", "about 22", "about 500"),
            1,
            "The variances add up to 501, and the typical size is its root, 22.4. They cancel, but not completely.",
        ),
        "first_epochs": Guess(
            "Two networks differ only in the size of their initial weights. After the first epoch, which one is "
            "better?",
            ("that with large weights, as it has stronger signals", "that with small weights", "both are equal"),
            1,
            "Large weights saturate the hidden neurons, which then pass on hardly any gradient.",
        ),
        "depth": Guess(
            "Each layer halves the mean square of its signals. How much is left after thirty layers?",
            ("about a thirtieth", "about a thousandth", "about a billionth"),
            2,
            "Halving thirty times divides by 2 to the power of 30, which is about a billion.",
        ),
    },
    sliders={
        "sums": (
            Slider(
                "ones",
                "inputs that are 1 (of 1,000)",
                (0, 10, 100, 500, 1000),
                {
                    0: "Only the bias is left, and both histograms are the same.",
                    1000: "The wide histogram is wider still; the narrow one has the standard deviation 1.41.",
                },
            ),
        ),
        "depth": (
            Slider(
                "activation",
                "after each layer",
                ("relu", "nothing"),
                {"nothing": "Without ReLUs nothing is lost: now `scaled` is right, and `he` doubles in every layer."},
            ),
            Slider(
                "width",
                "neurons in each layer",
                (20, 100, 500),
                {20: "In narrow layers chance has more weight, and the curves are uneven."},
            ),
        ),
    },
    notices={
        "sums": (
            "The orange histogram is narrow and lies where the sigmoid is steep, between about -4 and 4. The blue one "
            "is flat and wide: most of its neurons have sums at which the sigmoid is flat.",
            '"share with |z| > 4" in the numbers counts the neurons beyond these limits.',
        ),
        "first_epochs": (
            "In the right plot, the orange curve of the small weights begins where the blue one arrives several epochs "
            "later. In the book both meet after 30 epochs: bad initial weights cost time.",
        ),
        "depth": (
            "The vertical axis is logarithmic, so a straight line is a constant factor per layer. The blue line loses "
            "half in every layer, the orange one stays near its height.",
            'Change to "nothing": now the blue line stays at its height, and the orange one doubles in every layer.',
        ),
    },
    notice_plots={"first_epochs": ((1,),)},
    exercises=(
        Exercise(
            "100 inputs of a neuron are 1; the weights and the bias are drawn from N(0, 1). What is the standard "
            "deviation of its weighted sum? (two decimals)",
            10.05,
            0.01,
            "The variance is 100 + 1, its root 10.05.",
            {101: "That is the variance; take its root.", 10: "Do not forget the bias."},
        ),
        Exercise(
            "A layer of ReLUs has 200 inputs. Which standard deviation should its weights have? (two decimals)",
            0.1,
            0.001,
            "The variance is 2 / 200 = 0.01, its root 0.1.",
            {0.01: "That is the variance.", 0.0707: "That is the root of 1/200, which is right without ReLUs."},
        ),
    ),
    later="Layers of this library choose such variances by default. The gradient on its way back needs the same care.",
    studio="#play?problem=xor&hidden=4&init=zeros",
)
