"""The cost function.

The quadratic cost makes a neuron that is badly wrong learn slowly; the cross-entropy does not (Nielsen 2015, chapter
3). The first step explains this by the gradient of one neuron. The second shows it in a network for handwritten digits
whose initial outputs are wrong. The third compares the accuracies that both costs reach from usual initial weights,
drawn from N(0, 1 / n_in), where n_in is the number of a neuron's inputs.

The networks are trained on MNIST, 784-30-10 as in the book, with its learning rates: 3.0 for the quadratic cost and 0.5
for the cross-entropy. The small form, which the documentation shows, and any form without MNIST use the 8x8 digits of
scikit-learn.
"""

import torch

from pellucid import Model
from pellucid.data import Splits
from pellucid.layers import Sigmoid
from pellucid.layers.base import Mode
from pellucid.lessons.digits import handwritten
from pellucid.lessons.lesson import Result, Setting
from pellucid.losses import BinaryCrossEntropy, Quadratic
from pellucid.models import mlp
from pellucid.optim import SGD
from pellucid.report.figures.series import curves, histories


def slowdown(setting: Setting) -> Result:
    """The gradient of a wrong neuron.

    A sigmoid neuron outputs a, and its target is 0. With the quadratic cost a²/2 the gradient with respect to its
    weighted input z is a · σ'(z) = a² (1 - a): it is largest, 4/27, at a = 2/3, and vanishes when the neuron is most
    wrong, at a = 1. With the cross-entropy the derivative σ'(z) cancels, and the gradient is a: the more wrong, the
    faster the neuron learns.
    """
    a = torch.linspace(0.001, 0.999, 999, dtype=torch.float64)
    z, target = a.logit(), torch.zeros_like(a)
    output, cache = Sigmoid().forward({}, z, Mode())
    _, dy = Quadratic("sum").compute(output, target)
    quadratic_dz, _ = Sigmoid().backward({}, cache, dy)
    _, cross_entropy_dz = BinaryCrossEntropy(reduction="sum").compute(z, target)
    largest_index = int(quadratic_dz.argmax())
    numbers = {
        "largest quadratic gradient": quadratic_dz[largest_index].item(),
        "at the output": a[largest_index].item(),
        "quadratic gradient at 0.98": quadratic_dz[979].item(),
        "cross-entropy gradient at 0.98": cross_entropy_dz[979].item(),
    }
    gradients = {"quadratic": quadratic_dz, "cross-entropy": cross_entropy_dz}
    return Result(numbers, curves(gradients, "output a, target 0", "gradient with respect to z", a.tolist()))


def train(splits: Splits, seed: int, epochs: int, bias: float | None = None) -> dict[str, list[dict[str, float]]]:
    """Return the training history for each cost. bias: the initial bias of the outputs, drawn by default."""
    sizes, rows_by_cost = (splits.train.x[0].numel(), 30, 10), {}
    for name, output, loss, rate in (
        ("quadratic", "sigmoid", Quadratic(), 3.0),
        ("cross-entropy", "none", BinaryCrossEntropy(), 0.5),
    ):
        net = mlp(sizes, output=output, init_weight="scaled", init_bias="normal")
        model = Model(net, loss, SGD(rate), input_shape=splits.train.x.shape[1:], seed=seed)
        if bias is not None:
            model.params["head"]["scores"]["bias"].fill_(bias)
        rows_by_cost[name] = model.fit(
            splits.train, epochs=epochs, batch_size=10, validation=splits.test, verbose=False
        ).rows
    return rows_by_cost


def saturated(setting: Setting) -> Result:
    """Ten outputs that start wrong.

    All biases of the output layer start at 8, so every output begins near 1 although nine in ten targets are 0. With
    the quadratic cost, the gradient is small until training has left the flat end of the sigmoid; with the
    cross-entropy, it is large from the first step. The network learns from the first 2,000 images for 20 epochs.
    """
    splits = handwritten(setting, 400 if setting.small else 2000)
    rows_by_cost = train(splits, setting.seed, 10 if setting.small else 20, bias=8.0)
    numbers = {"data": splits.train.name} | {
        f"{name}: test accuracy after epochs 1, 5 and the last": [rows[k]["val_accuracy"] for k in (0, 4, -1)]
        for name, rows in rows_by_cost.items()
    }
    return Result(numbers, histories(rows_by_cost, ("train_loss", "val_accuracy")))


def accuracies(setting: Setting) -> Result:
    """Both costs from usual weights.

    From usual weights, both costs reach nearly the same accuracy. Nielsen starts from N(0, 1), which saturates many
    hidden neurons, and reports 95.42 % with the quadratic cost and 95.49 % with the cross-entropy after 30 epochs on
    50,000 images. In this step the weights start from N(0, 1/n_in), which saturates few neurons, so 10 epochs on the
    same images suffice for about the same accuracy. The two costs are in different units, so only the accuracies are
    comparable.
    """
    splits = handwritten(setting)
    rows_by_cost = train(splits, setting.seed, 10)
    numbers = {"data": splits.train.name, "training images": len(splits.train)} | {
        f"{name}: test accuracy": rows[-1]["val_accuracy"] for name, rows in rows_by_cost.items()
    }
    return Result(numbers, histories(rows_by_cost, ("train_loss", "val_accuracy")))


STEPS = (slowdown, saturated, accuracies)
