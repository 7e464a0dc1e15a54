"""Softmax.

A softmax layer turns weighted sums z into probabilities p_j = exp(z_j) / Σ exp(z_k). With the log-likelihood cost
-ln p_t of the target class t, the gradient is as simple as the gradient of sigmoids with the cross-entropy, and the
network learns as fast (Nielsen 2015, chapter 3).

The networks are trained on MNIST. The small form, which the documentation shows, and any form without MNIST use the 8x8
digits of scikit-learn.
"""

import torch

from pellucid import Model
from pellucid.layers import Softmax
from pellucid.layers.base import Mode
from pellucid.lessons.digits import handwritten
from pellucid.lessons.lesson import Result, Setting
from pellucid.losses import BinaryCrossEntropy, SoftmaxCrossEntropy
from pellucid.models import mlp
from pellucid.optim import SGD
from pellucid.report.figures.pictures import sheet
from pellucid.report.figures.series import curves, histories

Z = torch.tensor([2.5, -1.0, 3.2, 0.5], dtype=torch.float64)  # weighted sums of four output neurons


def softmax(z: torch.Tensor) -> torch.Tensor:
    """Return the softmax of weighted sums (N, C)."""
    return Softmax().forward({}, z, Mode())[0]


def probabilities(setting: Setting) -> Result:
    """Probabilities.

    The outputs are positive and their sum is 1. When one weighted sum rises, its output rises and all others fall, but
    the ratios between the others stay the same. The figure shows this for the fourth of four sums. A constant added to
    every z changes nothing.
    """
    z4 = torch.linspace(-5, 10, 151, dtype=torch.float64)
    z = torch.cat([Z[:3].expand(151, 3), z4[:, None]], 1)  # (151, 4)
    p = softmax(z)
    numbers = {
        "outputs": softmax(Z[None])[0].tolist(),
        "largest difference of a sum from 1": (p.sum(1) - 1).abs().max().item(),
        "largest change when 7 is added to every z": (softmax(z + 7) - p).abs().max().item(),
        "first over third output, range": [(p[:, 0] / p[:, 2]).min().item(), (p[:, 0] / p[:, 2]).max().item()],
    }
    names = [f"p1, z1 = {Z[0]:g}", f"p2, z2 = {Z[1]:g}", f"p3, z3 = {Z[2]:g}", "p4"]
    return Result(numbers, curves(dict(zip(names, p.T, strict=True)), "z4", "output", z4.tolist()))


def sharpness(setting: Setting) -> Result:
    """Why it is soft.

    In p_j = exp(c z_j) / Σ exp(c z_k), the factor c determines how sharp the outputs are. For c = 0 all outputs are
    equal, for c = 1 they are the softmax, and for large c the output of the largest z is nearly 1, as for the argmax.
    The reciprocal 1/c is the temperature in the lesson `nonsense`.
    """
    factors = torch.linspace(0, 10, 101, dtype=torch.float64)
    p = softmax(factors[:, None] * Z)
    names = [f"z = {z:g}" for z in Z]
    numbers = {f"outputs for c = {factors[k]:g}": p[k].tolist() for k in (0, 10, 100)}
    return Result(numbers, curves(dict(zip(names, p.T, strict=True)), "c", "output", factors.tolist()))


def gradient(setting: Setting) -> Result:
    """The gradient.

    The Jacobian of the softmax is dp_j/dz_k = p_j (δ_jk - p_k): p_j (1 - p_j) on the diagonal, and -p_j p_k elsewhere.
    The gradient of the cost with respect to p is -1/p_t at the target class t, and 0 elsewhere. Its product with the
    Jacobian is p - y, with y = 1 at the target and 0 elsewhere. The numbers show that both computations agree.
    """
    y, target = torch.eye(4, dtype=torch.float64)[[0]], torch.tensor([0])
    layer = Softmax()
    p, cache = layer.forward({}, Z[None], Mode())
    chained_gradient, _ = layer.backward({}, cache, -y / p)
    _, direct_gradient = SoftmaxCrossEntropy().compute(Z[None], target)
    jacobian = torch.stack(
        [
            layer.backward({}, layer.forward({}, Z[None], Mode())[1], row[None])[0][0]
            for row in torch.eye(4, dtype=torch.float64)
        ]
    )
    numbers = {
        "p - y": (p - y)[0].tolist(),
        "softmax, then log-likelihood": chained_gradient[0].tolist(),
        "both at once": direct_gradient[0].tolist(),
    }
    return Result(numbers, sheet(jacobian[None], "Jacobian: row j, column k is dp_j / dz_k", signed=True, largest=2.4))


def accuracies(setting: Setting) -> Result:
    """Comparison with sigmoids and the cross-entropy.

    The network 784-30-10 learns from 50,000 images for 10 epochs, once with ten sigmoid outputs and the cross-entropy,
    once with a softmax and the log-likelihood, both with the learning rate 0.5. The accuracies are similar, but only
    the outputs of the softmax are a probability distribution: the sum of the ten sigmoid outputs varies between images.
    """
    splits = handwritten(setting)
    rows_by_output, sum_ranges = {}, {}
    for name, loss in (("sigmoids", BinaryCrossEntropy()), ("softmax", SoftmaxCrossEntropy())):
        net = mlp((splits.train.x[0].numel(), 30, 10), init_weight="scaled", init_bias="normal")
        model = Model(net, loss, SGD(0.5), seed=setting.seed)
        rows_by_output[name] = model.fit(
            splits.train, epochs=10, batch_size=10, validation=splits.test, verbose=False
        ).rows
        output_sums = model.predict(splits.test).sum(1)
        sum_ranges[name] = [output_sums.min().item(), output_sums.max().item()]
    numbers = {
        "data": splits.train.name,
        "training images": len(splits.train),
        "range of the sum of outputs": sum_ranges,
    }
    numbers |= {f"{name}: test accuracy": rows[-1]["val_accuracy"] for name, rows in rows_by_output.items()}
    return Result(numbers, histories(rows_by_output, ("train_loss", "val_accuracy")))


STEPS = (probabilities, sharpness, gradient, accuracies)
