# scikit-learn has no type annotations, and the types inferred from its code are wrong in places.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportAssignmentType=false
# pyright: reportOperatorIssue=false
"""Support vector machines.

Many lines separate two classes. A support vector machine finds the line that is farthest from both, and only the points
nearest to this line, the support vectors, determine it (Cortes and Vapnik 1995). With a kernel, the boundaries of the
same method are curved. `SVC` is scikit-learn's class.
"""

import numpy as np
from matplotlib.axes import Axes
from sklearn.datasets import load_digits, make_blobs, make_circles, make_moons
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

from pellucid.lessons.guide import Exercise, FunctionExercise, Guess, Guide, Slider
from pellucid.lessons.lesson import Result, Setting
from pellucid.report.figures.plane import level_lines, regions, rings, scatter
from pellucid.report.figures.series import curves, plots_in_rows


def draw_machine(plot: Axes, machine: SVC, x: np.ndarray, y: np.ndarray) -> None:
    """Draw the points, and the machine's predicted regions, boundary, margins and support vectors."""
    regions(plot, machine.predict, x, 2)
    level_lines(plot, machine.decision_function, x)
    scatter(plot, x, y)
    rings(plot, machine.support_vectors_)


def margin(setting: Setting) -> Result:
    """The widest margin.

    f(x) = w x + b is 0 on the boundary, and scaled so that it is 1 and -1 at the nearest points of the two classes. The
    margin between them is 2/‖w‖ wide, so the widest margin has the smallest ‖w‖. The solution has the form
    w = Σ alpha_i t_i x_i with targets t = 1 or -1. alpha is 0 for all points except the support vectors, which are
    circled in the figure. Without the other points the boundary would be the same.
    """
    x, y = make_blobs(60, centers=[[-2, -1], [2, 1]], cluster_std=0.8, random_state=setting.seed)
    machine = SVC(kernel="linear", C=1e6, tol=1e-8).fit(x, y)
    w, b, support = machine.coef_[0], float(machine.intercept_[0]), machine.support_
    support_machine = SVC(kernel="linear", C=1e6, tol=1e-8).fit(x[support], y[support])
    t = 2 * y - 1
    distances = t * (x @ w + b) / np.linalg.norm(w)
    figure, (plot,) = plots_in_rows(["boundary, margins and support vectors"], 1, 3.8, square=True)
    draw_machine(plot, machine, x, y)
    numbers = {
        "support vectors": len(support),
        "width of the margin": float(2 / np.linalg.norm(w)),
        "twice the smallest distance": float(2 * distances.min()),
        "t f(x) of the support vectors": (t[support] * (x[support] @ w + b)).tolist(),
        "w - Σ alpha t x": float(np.abs(w - machine.dual_coef_[0] @ x[support]).max()),
        "Σ alpha t": float(machine.dual_coef_.sum()),
        "w - w of the support vectors alone": float(np.abs(w - support_machine.coef_[0]).max()),
    }
    return Result(numbers, figure)


def soft(setting: Setting, weight: float = 1.0) -> Result:
    """Soft margins.

    If classes overlap, no line separates them. The machine minimizes ‖w‖²/2 + C Σ max(0, 1 - t f(x)): C is the weight
    of the hinge loss, the cost of points inside the margin or on the wrong side. With a small C, the margin is wide and
    has many support vectors; with a large C, it is narrow.
    """
    x, y = make_blobs(120, centers=[[-1, -0.5], [1, 0.5]], cluster_std=1.0, random_state=setting.seed)
    factors = (0.01, weight, 100.0)
    figure, plots = plots_in_rows([f"C = {factor:g}" for factor in factors], 3, 2.6, square=True)
    numbers: dict[str, object] = {}
    for plot, factor in zip(plots, factors, strict=True):
        machine = SVC(kernel="linear", C=factor).fit(x, y)
        draw_machine(plot, machine, x, y)
        numbers[f"C = {factor:g}"] = {
            "width": float(2 / np.linalg.norm(machine.coef_)), "support vectors": len(machine.support_),
        }  # fmt: skip
    return Result(numbers, figure)


def kernels(setting: Setting, gamma: float = 1.0) -> Result:
    """Kernels.

    In f(x) = Σ alpha_i t_i k(x_i, x) + b the points occur only in the kernel. With k(u, v) = exp(-gamma ‖u - v‖²) the
    boundary is linear in a space of infinitely many dimensions and curved in the plane. gamma determines the distance
    at which a point has an effect: with a small gamma the boundaries are smooth, with a large gamma every point has an
    island. For two concentric circles, no line is much better than chance.
    """
    circles = make_circles(200, noise=0.08, factor=0.5, random_state=setting.seed)
    moons = make_moons(200, noise=0.2, random_state=setting.seed)
    cases = {
        "circles, linear": (circles, SVC(kernel="linear")),
        "circles, RBF": (circles, SVC(gamma=1.0)),
        f"moons, gamma = {gamma:g}": (moons, SVC(gamma=gamma)),
        "moons, gamma = 100": (moons, SVC(gamma=100.0)),
    }
    figure, plots = plots_in_rows(list(cases), 2, 2.9, square=True)
    numbers: dict[str, object] = {}
    for plot, (name, ((x, y), machine)) in zip(plots, cases.items(), strict=True):
        machine.fit(x, y)
        draw_machine(plot, machine, x, y)
        numbers[name] = {"training accuracy": machine.score(x, y), "support vectors": len(machine.support_)}
    x, y = circles
    machine = cases["circles, RBF"][1]
    k = np.exp(-((machine.support_vectors_[:, None] - x) ** 2).sum(-1))  # (support vectors, N)
    by_hand = machine.dual_coef_[0] @ k + machine.intercept_[0]
    numbers["f(x) by hand - decision function"] = float(np.abs(by_hand - machine.decision_function(x)).max())
    return Result(numbers, figure)


def digits(setting: Setting) -> Result:
    """Digits, and choosing gamma.

    The 1,797 digits are classified by a vote of 45 classifiers of two classes each. gamma is chosen by the accuracy on
    validation images; the test images are used once, for the chosen gamma. If gamma is too large, every training image
    is memorized.
    """
    x, y = load_digits(return_X_y=True)
    x, x_held_out, y, y_held_out = train_test_split(x / 16, y, test_size=0.4, random_state=setting.seed, stratify=y)
    val, test = (x_held_out[::2], y_held_out[::2]), (x_held_out[1::2], y_held_out[1::2])
    gammas = [0.001, 0.01, 0.1, 1.0, 10.0]
    machines = [SVC(C=10.0, gamma=gamma).fit(x, y) for gamma in gammas]
    scores = {
        "training": [machine.score(x, y) for machine in machines],
        "validation": [machine.score(*val) for machine in machines],
    }
    best_index = int(np.argmax(scores["validation"]))
    numbers = {"gamma": gammas[best_index], "validation accuracy": scores["validation"][best_index]}
    numbers |= {
        "test accuracy": machines[best_index].score(*test),
        "support vectors": len(machines[best_index].support_),
    }
    return Result(numbers, curves(scores, "gamma", "accuracy", gammas, log_x=True))


STEPS = (margin, soft, kernels, digits)
GUIDE = Guide(
    question="Many lines separate two groups of points. Which one is the safest?",
    minutes=15,
    needs=("perceptron", "neighbours"),
    guesses={
        "margin": Guess(
            "A point far away from the boundary, on its own side, is removed. What happens to the boundary?",
            ("nothing", "it moves towards the gap", "it turns"),
            0,
            "Only the support vectors, the points nearest to the boundary, determine it.",
        ),
        "kernels": Guess(
            "gamma of a curved boundary is raised to 100. What does the boundary look like?",
            ("islands around the points", "a straight line", "the same, but thinner"),
            0,
            "With a large gamma a point has an effect only very close to itself, so each point has its own island.",
        ),
    },
    sliders={
        "soft": (
            Slider(
                "weight",
                "C of the second plot, the cost of points on the wrong side",
                (0.03, 0.1, 1.0, 10.0),
                {0.03: "Mistakes are cheap: the margin is wide, and many points lie inside it."},
            ),
        ),
        "kernels": (
            Slider(
                "gamma",
                "gamma of the third plot",
                (0.1, 0.5, 1.0, 5.0, 30.0),
                {
                    0.1: "Every point has a wide effect: the boundary is nearly straight.",
                    30.0: "The boundary follows single points, which is overfitting.",
                },
            ),
        ),
    },
    notices={
        "margin": (
            "The circled points lie exactly on the thin lines, the edges of the margin. No point lies between the "
            "lines, and moving any point that is not circled a little changes nothing.",
        ),
        "soft": (
            "From left to right the price of a mistake rises, and the margin gets narrower. The circled points are "
            "those at the edge of the margin, inside it or on the wrong side, so their number falls.",
        ),
        "kernels": (
            "A line cannot enclose the inner circle; the curved boundary does. In the last plot almost every point is "
            "a support vector: the machine has memorized the points.",
        ),
        "digits": (
            "The training curve rises to 1 and stays there; the validation curve falls again. gamma is chosen where "
            "the validation curve is highest.",
        ),
    },
    exercises=(
        Exercise(
            "f(x) = w x + b with w = (3, 4). How wide is the margin, 2/‖w‖?",
            0.4,
            0.001,
            "‖w‖ = √(9 + 16) = 5, and 2/5 = 0.4.",
            {
                0.2: "1/‖w‖ is the distance of one edge from the boundary; the margin has two.",
                0.2857: "The length is √(3² + 4²) = 5, not 3 + 4.",
            },
        ),
        Exercise(
            "A point of class 1 (t = 1) has f(x) = 0.3. What is its hinge loss, max(0, 1 - t f(x))?",
            0.7,
            0.001,
            "1 - 0.3 = 0.7: it is on the right side, but inside the margin.",
            {0: "The loss is 0 only from f(x) = 1 on.", 1.3: "t = 1: subtract 0.3."},
        ),
    ),
    functions={
        "hinge": FunctionExercise(
            "hinge(w, b, x, t): the mean hinge loss of points x (N, D) with targets t (N,), 1 or -1.",
            lambda w, b, x, t: np.mean([max(0.0, 1 - ti * (np.dot(w, xi) + b)) for xi, ti in zip(x, t, strict=True)]),
            lambda random: (random.normal(size=2), 0.3, random.normal(size=(9, 2)), random.choice([-1, 1], 9)),
            "def hinge(w, b, x, t):\n    return np.maximum(0, 1 - t * (x @ w + b)).mean()",
        )
    },
    later="The hinge loss trains networks, too, and R-CNN classified its regions by such machines.",
)
