"""Vanishing gradients.

In a deep network of sigmoid neurons the gradient shrinks from layer to layer in the backward pass, so the first layers
hardly learn; with large weights it can explode instead. It is a product of one factor per layer, and such products
are unstable (Nielsen 2015, chapter 5).

The networks are trained on MNIST. The small form, which the documentation shows, and any form without MNIST use the 8x8
digits of scikit-learn.
"""

from collections.abc import Sequence
from typing import Any

import torch

from pellucid import Model
from pellucid.data import Batch, Splits
from pellucid.data.dataset import float_images
from pellucid.layers.base import Mode
from pellucid.lessons.digits import handwritten
from pellucid.lessons.lesson import Result, Setting
from pellucid.losses import BinaryCrossEntropy
from pellucid.models import mlp
from pellucid.nested import flatten
from pellucid.optim import SGD
from pellucid.optim.regularizers import L2
from pellucid.report.figures.series import curves, histories
from pellucid.sweep import backward
from pellucid.training.callbacks import Callback, Training
from pellucid.training.learner import Learner


def bias_gradients(gradients: Any) -> list[torch.Tensor]:
    """Return the gradients with respect to the biases of the hidden layers, first layer first."""
    layers = gradients["features"]
    return [layers[f"dense{k + 1}"]["bias"] for k in range(sum(name.startswith("dense") for name in layers))]


def chain(setting: Setting) -> Result:
    """A chain of neurons.

    Each of ten layers has one sigmoid neuron. The derivative of the last output with respect to the bias of layer k is
    σ'(z_k) · w σ'(z_k+1) · ... · w σ'(z_10). Since σ' is at most 1/4, the factors w σ' with |w| < 4 are below 1, and
    the product vanishes. In this step the biases keep every z at 0, where σ' = 1/4: with w = 1 each factor is 1/4; with
    w = 100 it is 25, and the gradient explodes.
    """
    factors: dict[str, list[float]] = {}
    for w in (1.0, 100.0):
        net = mlp((1,) * 12, output="none")  # eleven layers: the last one copies the output of the tenth
        params, _ = net.init((1,), torch.Generator())
        for path, tensor in flatten(params).items():
            tensor.fill_(w if path.endswith("weight") else -w / 2)
        params["head"]["scores"]["weight"].fill_(1.0)
        _, cache = net.forward(params, torch.full((1, 1), 0.5), Mode())
        _, gradients = backward(net, params, cache, torch.ones(1, 1))
        factors[f"w = {w:g}"] = [bias.item() for bias in bias_gradients(gradients)]
    numbers = {f"{name}: gradients of the first and the last bias": [row[0], row[-1]] for name, row in factors.items()}
    return Result(numbers, curves(factors, "layer", "gradient of the bias", log=True))


def network(splits: Splits, layers: int, seed: int, activation: str = "sigmoid", rate: float = 0.1) -> Model:
    """Return an untrained network with hidden layers of 30 neurons; λ is 5 for 50,000 images, and proportional to n."""
    init = "scaled" if activation == "sigmoid" else "he"
    net = mlp((splits.train.x[0].numel(), *[30] * layers, 10), activation, init_weight=init, init_bias="normal")
    penalty, shape = L2(5.0 * len(splits.train) / 50_000), splits.train.x.shape[1:]
    return Model(net, BinaryCrossEntropy(), SGD(rate), regularizer=penalty, input_shape=shape, seed=seed)


def layer_speeds(model: Learner, splits: Splits) -> list[float]:
    """Return the speed of each hidden layer: the norm of the gradient with respect to its biases, over 1,000 images."""
    batch = Batch(float_images(splits.train.x[:1000]), splits.train.y[:1000])
    _, gradients = model.objective.gradients(model.params, batch, Mode())
    return [bias.norm().item() for bias in bias_gradients(gradients)]


def depths(setting: Setting) -> Result:
    """The gradient at the start.

    The speed of a layer is the norm of the gradient with respect to its biases, computed from 1,000 images before any
    training. In the book the two hidden layers of 784-30-30-10 have the speeds 0.07 and 0.31, three layers 0.012, 0.060
    and 0.283, and four layers 0.003, 0.017, 0.070 and 0.285. The speeds depend on the initial weights, so each number
    of this step is the median of ten draws.
    """
    splits = handwritten(setting, 1000)
    speeds_by_depth: dict[str, list[float]] = {}
    for layers in (2, 3, 4):
        draws = torch.tensor([layer_speeds(network(splits, layers, setting.seed + k), splits) for k in range(10)])
        speeds_by_depth[f"{layers} hidden layers"] = draws.median(0).values.tolist()
    max_layers = len(speeds_by_depth["4 hidden layers"])
    padded_speeds = {name: [*[float("nan")] * (max_layers - len(row)), *row] for name, row in speeds_by_depth.items()}
    figure = curves(padded_speeds, "layers before the last hidden one", "speed", range(1 - max_layers, 1), log=True)
    return Result({"data": splits.train.name, **speeds_by_depth}, figure)


class SpeedRecorder(Callback):
    """A callback that records the speed of each hidden layer after each epoch."""

    def __init__(self, splits: Splits) -> None:
        self.splits = splits
        self.rows: list[list[float]] = []

    def on_epoch_end(self, training: Training, row: Any) -> None:
        """Record the speeds."""
        self.rows.append(layer_speeds(training.model, self.splits))


def plateau(setting: Setting) -> Result:
    """The gradient during training.

    A network of four hidden layers learns from 1,000 images for 60 epochs, with the learning rate 0.5. At the start,
    the speed of the first layer is a hundredth of the speed of the last one. As long as the first layer is slow, the
    network outputs the frequencies f of the classes for every image, and its cost stays at the value for these outputs,
    Σ -f ln f - (1 - f) ln(1 - f). When all layers have reached the same speed, the cost begins to fall.
    """
    splits = handwritten(setting, 1000)
    model, recorder = network(splits, 4, setting.seed, rate=0.5), SpeedRecorder(splits)
    epochs = 30 if setting.small else 60
    rows = model.fit(splits.train, epochs=epochs, batch_size=10, callbacks=[recorder], verbose=False).rows
    f = torch.bincount(splits.train.y).double() / len(splits.train)
    frequency_cost = -(f * f.log() + (1 - f) * (1 - f).log()).sum().item()
    costs = [row["train_loss"] for row in rows]
    numbers = {
        "data": splits.train.name,
        "last layer's speed over the first's, first and last epoch": [
            row[-1] / row[0] for row in recorder.rows[:: epochs - 1]
        ],
        "cost of the frequencies": frequency_cost,
        "epochs until the cost is 5 % below that": sum(cost > 0.95 * frequency_cost for cost in costs),
        "last cost": costs[-1],
    }
    speeds_by_layer = {f"hidden layer {k + 1}": list(row) for k, row in enumerate(zip(*recorder.rows, strict=True))}
    return Result(numbers, curves(speeds_by_layer | {"training cost": costs}, "epoch", "speed; cost", log=True))


def accuracies(setting: Setting) -> Result:
    """Accuracies with depth, and ReLUs.

    More layers of sigmoids do not help: after 30 epochs the book reports 96.48, 96.90, 96.57 and 96.53 % with one to
    four hidden layers. This step trains networks of one and of four sigmoid layers on 10,000 images for 10 epochs, and
    a network of four ReLU layers with weights from N(0, 2/n_in). The derivative of a ReLU is 1 wherever it is active.
    """
    splits = handwritten(setting, 10_000)
    architectures: Sequence[tuple[str, int, str]] = (
        ("1 sigmoid layer", 1, "sigmoid"), ("4 sigmoid layers", 4, "sigmoid"), ("4 ReLU layers", 4, "relu"),
    )  # fmt: skip
    rows_by_architecture, epochs = {}, 4 if setting.small else 10
    for name, layers, activation in architectures:
        model = network(splits, layers, setting.seed, activation)
        rows_by_architecture[name] = model.fit(
            splits.train, epochs=epochs, batch_size=10, validation=splits.test, verbose=False
        ).rows
    numbers = {
        f"{name}: test accuracy after the first and the last epoch": [rows[0]["val_accuracy"], rows[-1]["val_accuracy"]]
        for name, rows in rows_by_architecture.items()
    }
    return Result(
        {"data": splits.train.name, **numbers}, histories(rows_by_architecture, ("train_loss", "val_accuracy"))
    )


STEPS = (chain, depths, plateau, accuracies)
