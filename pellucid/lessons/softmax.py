"""Softmax.

A network that chooses between classes has one output neuron for each. A softmax layer turns their weighted sums z into
probabilities p_j = exp(z_j) / Σ exp(z_k), where Σ is the sum over all classes k and exp(z) is e = 2.718... to the power
of z. With the log-likelihood cost -ln p_t of the target class t, the gradient is as simple as the gradient of sigmoids
with the cross-entropy, and the network learns as fast (Nielsen 2015, chapter 3).

The networks are trained on MNIST. The small form, which the documentation shows, and any form without MNIST use the 8x8
digits of scikit-learn.
"""

import numpy as np
import torch

from pellucid import Model
from pellucid.layers import Softmax
from pellucid.layers.base import Mode
from pellucid.lessons.digits import handwritten
from pellucid.lessons.guide import Exercise, FunctionExercise, Guess, Guide, Slider
from pellucid.lessons.lesson import LessonSettings, Result
from pellucid.losses import BinaryCrossEntropy, SoftmaxCrossEntropy
from pellucid.models import mlp
from pellucid.optim import SGD
from pellucid.report.figures.pictures import sheet
from pellucid.report.figures.series import curves, histories

Z = torch.tensor([2.5, -1.0, 3.2, 0.5], dtype=torch.float64)  # weighted sums of four output neurons


def softmax(z: torch.Tensor) -> torch.Tensor:
    """Return the softmax of weighted sums (N, C)."""
    return Softmax().forward({}, z, Mode())[0]


def probabilities(settings: LessonSettings, z1: float = 2.5, z3: float = 3.2) -> Result:
    """Probabilities.

    The outputs are positive and their sum is 1. When one weighted sum rises, its output rises and all others fall, but
    the ratios between the others stay the same. The figure shows this for the fourth of four sums. A constant added to
    every z changes nothing.
    """
    z4 = torch.linspace(-5, 10, 151, dtype=torch.float64)
    sums = torch.tensor([z1, Z[1], z3, Z[3]], dtype=torch.float64)
    z = torch.cat([sums[:3].expand(151, 3), z4[:, None]], 1)  # (151, 4)
    p = softmax(z)
    numbers = {
        "outputs": softmax(sums[None])[0].tolist(),
        "largest difference of a sum from 1": (p.sum(1) - 1).abs().max().item(),
        "largest change when 7 is added to every z": (softmax(z + 7) - p).abs().max().item(),
        "first over third output, range": [(p[:, 0] / p[:, 2]).min().item(), (p[:, 0] / p[:, 2]).max().item()],
    }
    names = [f"p{k + 1}, z{k + 1} = {sums[k]:g}" for k in range(3)] + ["p4"]
    return Result(numbers, curves(dict(zip(names, p.T, strict=True)), "z4", "output", z4.tolist()))


def sharpness(settings: LessonSettings) -> Result:
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


def gradient(settings: LessonSettings, target_class: int = 1, factor: float = 1.0) -> Result:
    """The gradient.

    The Jacobian is the table of all derivatives of the outputs with respect to the sums. That of the softmax is
    dp_j/dz_k = p_j (δ_jk - p_k), where δ_jk is 1 for j = k and 0 otherwise: p_j (1 - p_j) on the diagonal, and -p_j p_k
    elsewhere. The gradient of the cost with respect to p is -1/p_t at the target class t, and 0 elsewhere. Its product
    with the Jacobian is p - y, with y = 1 at the target and 0 elsewhere. The numbers show that both computations agree.
    """
    target = torch.tensor([target_class - 1])
    y = torch.eye(4, dtype=torch.float64)[target]
    z = factor * Z[None]
    layer = Softmax()
    p, cache = layer.forward({}, z, Mode())
    chained_gradient, _ = layer.backward({}, cache, -y / p)
    _, direct_gradient = SoftmaxCrossEntropy().compute(z, target)
    jacobian = torch.stack(
        [
            layer.backward({}, layer.forward({}, z, Mode())[1], row[None])[0][0]
            for row in torch.eye(4, dtype=torch.float64)
        ]
    )
    numbers = {
        "p - y": (p - y)[0].tolist(),
        "softmax, then log-likelihood": chained_gradient[0].tolist(),
        "both at once": direct_gradient[0].tolist(),
    }
    return Result(numbers, sheet(jacobian[None], "Jacobian: row j, column k is dp_j / dz_k", signed=True, max_side=2.4))


def accuracies(settings: LessonSettings) -> Result:
    """Comparison with sigmoids and the cross-entropy.

    The network 784-30-10 learns from 50,000 images for 10 epochs, once with ten sigmoid outputs and the cross-entropy,
    once with a softmax and the log-likelihood, both with the learning rate 0.5. The accuracies are similar, but only
    the outputs of the softmax are a probability distribution: the sum of the ten sigmoid outputs varies between images.
    """
    splits = handwritten(settings)
    rows_by_output, sum_ranges = {}, {}
    for name, loss in (("sigmoids", BinaryCrossEntropy()), ("softmax", SoftmaxCrossEntropy())):
        net = mlp((splits.train.x[0].numel(), 30, 10), init_weight="scaled", init_bias="normal")
        model = Model(net, loss, SGD(0.5), seed=settings.seed)
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
GUIDE = Guide(
    question='How does a network turn ten arbitrary numbers into the statement "87 % a seven"?',
    minutes=12,
    needs=("cost",),
    guesses={
        "probabilities": Guess(
            "Only z4 rises. What happens to the ratio of the first to the third probability?",
            ("it stays the same", "the larger of the two loses more, so it changes", "it approaches 1"),
            0,
            "p1 / p3 = exp(z1) / exp(z3) does not contain z4. Both are divided by the same, growing sum.",
        ),
        "sharpness": Guess(
            "The sums 2.5 and 3.2 lie close together. All sums are multiplied by 10. What becomes of their outputs?",
            ("their ratio stays the same", "the larger one takes nearly everything", "both become ten times as large"),
            1,
            "The ratio exp(0.7) = 2 becomes exp(7) = 1,097: differences of sums are ratios of outputs.",
        ),
        "gradient": Guess(
            "The target class has the probability 0.3. What is the derivative of the cost with respect to its z?",
            ("0.3", "-0.7", "-3.3, since -1/p is"),
            1,
            "p - y = 0.3 - 1 = -0.7: the sum should rise, and the more, the lower the probability is.",
        ),
    },
    sliders={
        "probabilities": (
            Slider("z1", "z1", (-1.0, 2.5, 6.0), {6.0: "Now the first class leads until z4 overtakes it at 6."}),
            Slider("z3", "z3", (0.0, 3.2, 6.0)),
        ),
        "gradient": (
            Slider(
                "target_class",
                "target class",
                (1, 2, 3, 4),
                {2: "The least probable class is the target: its derivative is almost -1."},
            ),
            Slider(
                "factor",
                "all z, multiplied by",
                (0.0, 0.5, 1.0, 3.0),
                {
                    0.0: "All probabilities are 1/4, and all derivatives between different classes are equal.",
                    3.0: "The outputs are sharp; only the first and the third class still compete.",
                },
            ),
        ),
    },
    notices={
        "probabilities": (
            "Read the figure at a fixed z4: the four heights add up to 1. The fourth curve overtakes the third where "
            "z4 equals z3.",
            "All other curves fall together. Move z1 and see that the third curve falls although z3 has not changed: "
            "probabilities are shares.",
        ),
        "sharpness": (
            "At c = 0 all four curves begin at 1/4. The second largest, blue, rises at first, as the two small ones "
            "lose, and then falls, when the largest takes all.",
        ),
        "gradient": (
            "Blue cells on the diagonal: each output rises with its own sum. Brown cells beside it: it falls when "
            "another sum rises. Each row and each column adds up to 0, since the outputs always add up to 1.",
            "In the numbers, the three lines agree: the long way through the Jacobian and the short formula p - y. "
            "Only the target class has a negative number.",
        ),
        "accuracies": (
            "The right plot shows two curves that cross several times: none is better. In the left plot they "
            "have different heights because the costs have different units.",
            'The difference is in "range of the sum of outputs": only the outputs of the softmax add up to 1.',
        ),
    },
    exercises=(
        Exercise(
            "Two sums are 0 and ln 3 = 1.0986. What is the second output of the softmax?",
            0.75,
            0.001,
            "exp(0) = 1 and exp(ln 3) = 3, so p = 3 / (1 + 3).",
            {3: "That is the ratio of the outputs; divide by their sum."},
        ),
        Exercise(
            "The target class has the probability 0.1. How large is the cost -ln p? (two decimals)",
            2.3,
            0.01,
            "-ln 0.1 = ln 10 = 2.303.",
            {1: "That is the logarithm with base 10.", 0.9: "That is 1 - p, the size of the derivative."},
        ),
    ),
    functions={
        "softmax": FunctionExercise(
            "softmax(z): the probabilities (C,) of the sums z (C,), finite also for sums of several thousand.",
            lambda z: 1 / np.exp(np.minimum(z[None, :] - z[:, None], 700)).sum(1),
            lambda random: (1000 * random.integers(1, 4) + 3 * random.normal(size=5),),
            "def softmax(z):\n    e = np.exp(z - np.max(z))\n    return e / e.sum()",
        ),
        "gradient": FunctionExercise(
            "gradient(z, target): the derivatives (C,) of -ln p of the class target (0 to C - 1) with respect to z "
            "(C,).",
            lambda z, target: 1 / np.exp(z[None, :] - z[:, None]).sum(1) - (np.arange(len(z)) == target),
            lambda random: (random.normal(size=5), int(random.integers(5))),
            "def gradient(z, target):\n    p = np.exp(z) / np.exp(z).sum()\n    p[target] -= 1\n    return p",
        ),
    },
    later="Nearly all classifiers of this library end so. Whether their probabilities are true is another question.",
    studio="#draw",  # the studio's view of drawn digits
)
