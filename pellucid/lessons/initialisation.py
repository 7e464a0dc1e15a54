"""Initial weights.

How large should the initial weights be? Weights from N(0, 1) make the weighted sums of a wide layer so large that its
sigmoid neurons start saturated and learn slowly; weights from N(0, 1/n_in) keep the sums near 0 (Nielsen 2015, chapter
3). For deep networks of ReLUs the variance has to be 2/n_in (He et al. 2015).

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
from pellucid.lessons.lesson import Result, Setting
from pellucid.losses import BinaryCrossEntropy
from pellucid.models import mlp
from pellucid.optim import SGD
from pellucid.optim.regularizers import L2
from pellucid.report.figures.series import curves, densities, histories


def sums(setting: Setting) -> Result:
    """The weighted sum of one neuron.

    500 of a neuron's 1,000 inputs are 1, and 500 are 0. With weights and bias from N(0, 1) its weighted sum z has the
    standard deviation √501 = 22.4: the sigmoid is nearly always saturated. With weights from N(0, 1/1000) the standard
    deviation is √(500/1000 + 1) = 1.22. This step draws 20,000 such neurons.
    """
    x = torch.cat([torch.ones(1, 500), torch.zeros(1, 500)], 1)
    z: dict[str, torch.Tensor] = {}
    for name in ("normal", "scaled"):
        layer = Dense(20_000, init_weight=name, init_bias="normal")
        params, _ = layer.init((1000,), torch.Generator().manual_seed(setting.seed))
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


def first_epochs(setting: Setting) -> Result:
    """Faster from the first epoch.

    The network 784-30-10 is trained with the cross-entropy, rate 0.1 and L2 regularization with λ = 5 on 50,000 images.
    In the book, the accuracy after the first epoch is 87 % with the large weights and nearly 93 % with the small ones;
    after 30 epochs both are near 96 %. This step trains for 10 epochs. λ is proportional to the number of images. The
    8x8 digits are enlarged to 32x32, because with 64 inputs even weights from N(0, 1) saturate few neurons.
    """
    splits = handwritten(setting)
    if splits.train.x[0].numel() == 64:
        splits = enlarge_images(splits, 4)
    penalty, rows_by_weights = L2(5.0 * len(splits.train) / 50_000), {}
    for name in ("normal", "scaled"):
        net = mlp((splits.train.x[0].numel(), 30, 10), init_weight=name, init_bias="normal")
        model = Model(net, BinaryCrossEntropy(), SGD(0.1), regularizer=penalty, seed=setting.seed)
        history = model.fit(splits.train, epochs=10, batch_size=10, validation=splits.test, verbose=False)
        rows_by_weights[name] = history.rows
    numbers = {"data": splits.train.name, "training images": len(splits.train)} | {
        f"{name}: test accuracy after epochs 1, 2 and 10": [rows[k]["val_accuracy"] for k in (0, 1, -1)]
        for name, rows in rows_by_weights.items()
    }
    return Result(numbers, histories(rows_by_weights, ("train_loss", "val_accuracy")))


def depth(setting: Setting) -> Result:
    """Thirty layers of ReLUs.

    A weight variance of 1/n_in keeps the mean square of a layer's weighted sums equal to the mean square of its inputs.
    A ReLU then sets half of the sums to 0, which halves the mean square. With `scaled`, it halves in every layer, to
    about 2^-30 after thirty layers. The variance 2/n_in of `he` compensates for this. Each layer has 500 neurons.
    """
    mean_squares: dict[str, list[float]] = {}
    for name in ("scaled", "he"):
        rng = torch.Generator().manual_seed(setting.seed)
        x = torch.randn(200, 500, generator=rng, dtype=torch.float64)
        mean_squares[name] = []
        for _ in range(30):
            layer = Dense(500, init_weight=name)
            params, _ = layer.init((500,), rng)
            z, _ = layer.forward({key: value.double() for key, value in params.items()}, x, Mode())
            x, _ = ReLU().forward({}, z, Mode())
            mean_squares[name].append(z.square().mean().item())
    factors = {name: (values[-1] / values[0]) ** (1 / 29) for name, values in mean_squares.items()}
    figure = curves(mean_squares, "layer", "mean square of the weighted sums", log=True)
    return Result({"factor per layer": factors}, figure)


STEPS = (sums, first_epochs, depth)
