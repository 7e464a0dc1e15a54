# scikit-learn has no type annotations, and the types inferred from its code are wrong in places.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportAssignmentType=false
# pyright: reportOperatorIssue=false
"""Support vector machines.

Many lines separate two classes. A support vector machine finds the line that is farthest from both, and only the points
nearest to this line, the support vectors, determine it (Cortes and Vapnik 1995). With a kernel, the boundaries of the
same method are curved. `SVC` is scikit-learn's class.
"""

import math

import numpy as np
from matplotlib.axes import Axes
from sklearn.datasets import load_digits, make_blobs, make_circles, make_moons
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

from pellucid.lessons.guide import Exercise, FunctionExercise, Guess, Guide, Handles, Slider
from pellucid.lessons.lesson import LessonSettings, NumberRows, Result
from pellucid.report.figures.plane import level_lines, regions, rings, scatter
from pellucid.report.figures.series import curves, plots_in_rows

POINTS = ((-2.0, 1.0), (-1.5, -1.5), (-1.0, 0.5), (-2.5, -0.5), (-0.5, -2.0), (-3.0, 2.0),
          (2.0, 1.5), (1.0, 2.0), (2.5, -0.5), (3.0, 0.5), (1.5, 0.0), (2.5, -2.0))  # fmt: skip
EDGE = (-4.0, 4.0)  # of the plot of these points


def draw_machine(plot: Axes, machine: SVC, x: np.ndarray, y: np.ndarray, corners: object = None) -> None:
    """Draw the points, and the machine's predicted regions, boundary, margins and support vectors.

    corners: points around which all is drawn, None for the points themselves.
    """
    limit_points = x if corners is None else corners
    regions(plot, machine.predict, limit_points, 2)
    level_lines(plot, machine.decision_function, limit_points)
    scatter(plot, x, y)
    rings(plot, machine.support_vectors_)


def margin(settings: LessonSettings, points: NumberRows = POINTS) -> Result:
    """The widest margin.

    f(x) = w x + b is 0 on the boundary, and scaled so that it is 1 and -1 at the nearest points of the two classes. The
    margin between them is 2/‖w‖ wide, so the widest margin has the smallest ‖w‖. The solution has the form w = Σ
    alpha_i t_i x_i with targets t = 1 or -1 and a number alpha_i for each point, its influence. alpha is 0 for all
    points except the support vectors, which are circled in the figure. Without the other points the boundary would be
    the same. The first half of the points is one class, the second half the other one. If no line separates them, some
    have t f(x) below 1.
    """
    x = np.array(points)
    y = np.arange(len(x)) // (len(x) // 2)
    machine = SVC(kernel="linear", C=100.0, tol=1e-6).fit(x, y)
    w, b, support = machine.coef_[0], float(machine.intercept_[0]), machine.support_
    support_machine = SVC(kernel="linear", C=100.0, tol=1e-6).fit(x[support], y[support])
    signs = 2 * y - 1
    distances = signs * (x @ w + b) / np.linalg.norm(w)
    figure, (plot,) = plots_in_rows(["boundary, margins and support vectors"], 1, 3.8, square=True)
    draw_machine(plot, machine, x, y, [*zip(EDGE, EDGE, strict=True)])
    plot.set_xlim(EDGE)
    plot.set_ylim(EDGE)
    numbers = {
        "support vectors": len(support),
        "width of the margin": float(2 / np.linalg.norm(w)),
        "twice the smallest distance": float(2 * distances.min()),
        "t f(x) of the support vectors": (signs[support] * (x[support] @ w + b)).tolist(),
        "w - Σ alpha t x": float(np.abs(w - machine.dual_coef_[0] @ x[support]).max()),
        "Σ alpha t": float(machine.dual_coef_.sum()),
        "w - w of the support vectors alone": float(np.abs(w - support_machine.coef_[0]).max()),
    }
    return Result(numbers, figure)


def soft(settings: LessonSettings, c: float = 1.0, spread: float = 1.0) -> Result:
    """Soft margins.

    If classes overlap, no line separates them. The machine minimizes ‖w‖²/2 + C Σ max(0, 1 - t f(x)): C is the weight
    of the hinge loss, the cost of points inside the margin or on the wrong side. With a small C, the margin is wide and
    has many support vectors; with a large C, it is narrow. The figure shows the chosen C between a small and a large
    one.
    """
    x, y = make_blobs(120, centers=[[-1, -0.5], [1, 0.5]], cluster_std=spread, random_state=settings.seed)
    factors = (0.01, c, 100.0)
    figure, plots = plots_in_rows([f"C = {factor:g}" for factor in factors], 3, 2.6, square=True)
    numbers: dict[str, object] = {}
    for plot, factor in zip(plots, factors, strict=True):
        machine = SVC(kernel="linear", C=factor).fit(x, y)
        draw_machine(plot, machine, x, y)
        numbers[f"C = {factor:g}"] = {
            "width": float(2 / np.linalg.norm(machine.coef_)), "support vectors": len(machine.support_),
        }  # fmt: skip
    return Result(numbers, figure)


def kernels(settings: LessonSettings, gamma: float = 1.0, c: float = 1.0) -> Result:
    """Kernels.

    In f(x) = Σ alpha_i t_i k(x_i, x) + b the points occur only in the kernel k, which says how similar two points are.
    With k(u, v) = exp(-gamma ‖u - v‖²), called RBF for radial basis function, the boundary is linear in a space of
    infinitely many dimensions and curved in the plane. gamma determines the distance at which a point has an effect:
    with a small gamma the boundaries are smooth, with a large gamma every point has an island. For two concentric
    circles, no line is much better than chance.
    """
    circles = make_circles(200, noise=0.08, factor=0.5, random_state=settings.seed)
    moons = make_moons(200, noise=0.2, random_state=settings.seed)
    cases = {
        "circles, linear": (circles, SVC(kernel="linear")),
        "circles, RBF": (circles, SVC(gamma=1.0)),
        f"moons, gamma = {gamma:g}": (moons, SVC(C=c, gamma=gamma)),
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


def digits(settings: LessonSettings) -> Result:
    """Digits, and choosing gamma.

    The 1,797 digits are classified by a vote of 45 classifiers of two classes each. gamma is chosen by the accuracy on
    validation images; the test images are used once, for the chosen gamma. If gamma is too large, every training image
    is memorized.
    """
    x, y = load_digits(return_X_y=True)
    x, x_held_out, y, y_held_out = train_test_split(x / 16, y, test_size=0.4, random_state=settings.seed, stratify=y)
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
    question="Many lines separate two groups of points. Which one is the safest, and who decides where it lies?",
    minutes=20,
    needs=("perceptron",),
    guesses={
        "margin": Guess(
            "The line that is farthest from both classes has been found. Then a point far away from it is removed. "
            "What does the line do?",
            ("it moves a little towards the gap", "nothing", "it turns"),
            1,
            "Only the nearest points, the support vectors, hold the line. All others have an alpha of 0 in the sum "
            "for w.",
        ),
        "soft": Guess(
            "C is the price of a point inside the margin. What happens to the margin if the price rises?",
            ("it becomes wider", "it becomes narrower", "it stays as it is"),
            1,
            "A narrow margin has fewer points inside. If they are cheap, a wide margin with many points inside costs "
            "less.",
        ),
        "kernels": Guess(
            "With gamma = 1 the machine classifies 95 % of the points of the moons rightly, with gamma = 100 even 99 "
            "%. Which of them is better for new points?",
            ("gamma = 100, it makes fewer mistakes", "gamma = 1, it draws a smooth boundary", "both are the same"),
            1,
            "With gamma = 100 each point has a small island around it. New points beyond the islands all get the same "
            "class.",
        ),
    },
    sliders={
        "soft": (
            Slider(
                "c",
                "C of the middle picture",
                (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0),
                {30.0: "Hardly different from C = 100 on the right."},
            ),
            Slider(
                "spread",
                "standard deviation of each class",
                (0.4, 0.7, 1.0, 1.5),
                {0.4: "The classes are almost apart: few support vectors, unless C is small."},
            ),
        ),
        "kernels": (
            Slider(
                "gamma",
                "gamma of the lower left picture",
                (0.01, 0.1, 1.0, 10.0, 30.0),
                {
                    0.01: "Each point has an effect everywhere: the boundary is almost a line.",
                    30.0: "The boundary follows single points.",
                },
            ),
            Slider("c", "C of the lower left picture", (0.1, 1.0, 10.0, 100.0)),
        ),
    },
    notices={
        "margin": (
            "Three points have a small ring: two of one class and one of the other. They lie exactly on the dashed "
            "lines, and no point lies between these. The solid boundary is in the middle.",
        ),
        "soft": (
            "Count the rings roughly, or read the numbers: with C = 0.01 most points are support vectors, since most "
            "lie between the dashed lines. From left to right the dashed lines come nearer to each other.",
            "The boundary itself changes less than the margin. Move C in the middle picture from end to end and see "
            "which of its neighbours it resembles.",
        ),
        "kernels": (
            "In the first picture a line tries to separate a ring from its middle, and fails: 55.5 % of the points "
            "are on the right side. The same points with the RBF kernel are separated completely.",
            "Move gamma of the lower left picture up. The boundary first follows the moons, and then single points. "
            "The extreme is the picture on the right, where nearly every point has a ring.",
        ),
        "digits": (
            "The two curves are close together up to gamma = 1. Then the training curve stays at 1, and the "
            "validation curve falls to about 0.13, little better than guessing one of ten digits. The gap is what "
            "memorizing looks like.",
        ),
    },
    notice_plots={"soft": ((0,), (1,)), "kernels": ((0, 1), (2, 3))},
    exercises=(
        Exercise(
            "f(x) = w x + b with w = (3, 4) is 1 and -1 at the nearest points of the two classes. How wide is the "
            "margin?",
            0.4,
            0.005,
            "‖w‖ = √(9 + 16) = 5, and the margin is 2/5 = 0.4.",
            {
                0.2: "That is the distance of the boundary from one class. The margin reaches from class to class.",
                0.286: "The length of w is √(3² + 4²) = 5, not 3 + 4.",
            },
        ),
        Exercise(
            "A point with the target t = 1 has f(x) = -1. What is its hinge loss, max(0, 1 - t f(x))?",
            2,
            0.01,
            "1 - 1 · (-1) = 2. The point is on the wrong side, as far from the boundary as the margin.",
            {
                0: "That would be right for f(x) of 1 or more.",
                1: "That is the loss of a point on the boundary, f(x) = 0.",
            },
        ),
        Exercise(
            "At which distance does the kernel exp(-gamma d²) with gamma = 1 fall to one half?",
            math.sqrt(math.log(2)),
            0.005,
            "exp(-d²) = 1/2 gives d² = ln 2 = 0.693, and d = 0.833.",
            {0.693: "That is d². Take the root.", 0.5: "exp(-0.25) is still 0.78."},
        ),
    ),
    handles={"margin": Handles("points", "the points", "points", POINTS, *EDGE, 0.1)},
    functions={
        "decision": FunctionExercise(
            "decision(x, support, weights, b, gamma): f(x) (N,) of an RBF machine at points x (N, D), with support "
            "vectors support (S, D), their weights alpha t (S,), and the offset b.",
            lambda x, support, weights, b, gamma: rbf_kernel(x, support, gamma=gamma) @ weights + b,
            lambda random: (random.normal(size=(6, 2)), random.normal(size=(4, 2)), random.normal(size=4), 0.3, 0.7),
            """def decision(x, support, weights, b, gamma):
    squared_distances = ((x[:, None] - support) ** 2).sum(2)
    return np.exp(-gamma * squared_distances) @ weights + b""",
        )
    },
    later="R-CNN, one of the first detectors with a network, classified its regions by such machines.",
    studio="#play?problem=moons&hidden=~&loss=hinge&l2=0.01",
)
