# scikit-learn has no type annotations, and the types inferred from its code are wrong in places.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportAssignmentType=false
"""Linear algebra.

The linear algebra behind networks, in pictures: norms and their unit balls, eigenvectors, the singular value
decomposition, the pseudoinverse and least squares, and the principal components of handwritten digits. NumPy computes
them. Each figure shows an identity, and the numbers include the differences between its two sides.
"""

import numpy as np
from scipy.linalg import pinv
from sklearn.datasets import load_digits

from pellucid.lessons.guide import Exercise, FunctionExercise, Guess, Guide, Slider
from pellucid.lessons.lesson import LessonSettings, Result
from pellucid.report.figures.pictures import sheet
from pellucid.report.figures.plane import arrow, closed_curve, scatter
from pellucid.report.figures.series import COLOURS, name_axes, plots_in_rows
from pellucid.report.figures.style import SMALL

ANGLES = np.linspace(0, 2 * np.pi, 200, endpoint=False)
CIRCLE = np.stack([np.cos(ANGLES), np.sin(ANGLES)], 1)  # (200, 2)


def norms(settings: LessonSettings, p: float = 2.0) -> Result:
    """Norms.

    A norm ‖x‖_p = (Σ |x_i|^p)^(1/p) is a length of x: L1 is the sum of the absolute values, L2 the Euclidean length,
    and L∞ the largest absolute value. The figure shows the vectors of norm 1, the unit balls. For all x of n entries
    ‖x‖∞ ≤ ‖x‖2 ≤ ‖x‖1 ≤ √n ‖x‖2: the L1 ball is the smallest, and its corners on the axes are the reason why L1
    regularization makes weights 0.
    """
    figure, (plot,) = plots_in_rows(["vectors of norm 1"], 1, 4.0, square=True)
    orders = {"L1": 1.0, f"L{p:g}": p, "L∞": np.inf}
    for (name, order), colour in zip(orders.items(), COLOURS, strict=False):
        closed_curve(plot, CIRCLE / np.linalg.norm(CIRCLE, order, axis=1, keepdims=True), colour, name)
    plot.legend(frameon=False, fontsize=SMALL)
    x = np.random.default_rng(settings.seed).normal(size=(1000, 5))
    l1, l2, l_inf = (np.linalg.norm(x, order, axis=1) for order in (1, 2, np.inf))
    has_ordered_norms = bool(((l_inf <= l2) & (l2 <= l1) & (l1 <= np.sqrt(5) * l2)).all())
    has_triangle_inequality = bool((np.linalg.norm(x[:500] + x[500:], axis=1) <= l2[:500] + l2[500:]).all())
    example_norms = {f"‖(3, 4)‖ by {name}": float(np.linalg.norm([3, 4], order)) for name, order in orders.items()}
    return Result(
        example_norms
        | {"inequalities hold for 1,000 vectors": has_ordered_norms, "triangle inequality": has_triangle_inequality},
        figure,
    )


def eigenvectors(settings: LessonSettings, mixing: float = 1.0) -> Result:
    """Eigenvectors.

    A matrix turns most vectors, but only stretches its eigenvectors: A v = λ v. A symmetric matrix has orthogonal
    eigenvectors, A = Q Λ Qᵀ, and maps the unit circle to an ellipse whose axes are λ v. The eigenvalues sum to the
    trace, the sum of the diagonal, and their product is the determinant. Here the diagonal of A is 2 and 1.5, and the
    other two entries are 1.
    """
    a = np.array([[2.0, mixing], [mixing, 1.5]])
    values, vectors = np.linalg.eigh(a)
    vectors = vectors * np.where(vectors[1] < 0, -1, 1)  # pointing upwards, since the sign is arbitrary
    figure, (plot,) = plots_in_rows(["the circle, and its image under A"], 1, 4.0, square=True)
    closed_curve(plot, CIRCLE)
    closed_curve(plot, CIRCLE @ a.T, COLOURS[0])
    for value, vector in zip(values, vectors.T, strict=True):
        arrow(plot, value * vector, f"λ v, λ = {value:.2f}", COLOURS[1])
        arrow(plot, vector)
    numbers = {
        "eigenvalues": values.tolist(),
        "A v - λ v": float(np.abs(a @ vectors - vectors * values).max()),
        "Q Λ Qᵀ - A": float(np.abs(vectors @ np.diag(values) @ vectors.T - a).max()),
        "sum of λ - trace": float(values.sum() - np.trace(a)),
        "product of λ - determinant": float(values.prod() - np.linalg.det(a)),
    }
    return Result(numbers, figure)


def decomposition(settings: LessonSettings, shear: float = 1.0) -> Result:
    """Singular values.

    Every matrix is a rotation, a stretching along the axes and another rotation, each rotation perhaps with a
    reflection: A = U Σ Vᵀ. The right singular vectors v are mapped to σ u, which are orthogonal too. The largest
    singular value is the spectral norm, the largest length of A x for unit vectors x. The Frobenius norm, the root of
    the sum of squares of all entries, is √Σ σ². The squares σ² are the eigenvalues of AᵀA. Here A is
    [[1.5, 1], [-0.5, 1.2]].
    """
    a = np.array([[1.5, shear], [-0.5, 1.2]])
    u, sigma, vt = np.linalg.svd(a)
    titles = ["unit circle", "after Vᵀ", "after Σ: stretched", "after U: A x"]
    figure, plots = plots_in_rows(titles, 4, 2.3, square=True)
    limit = 1.1 * max(float(sigma[0]), 1.0)
    product = np.eye(2)
    for plot, factor in zip(plots, (np.eye(2), vt, np.diag(sigma), u), strict=True):
        product = factor @ product
        closed_curve(plot, CIRCLE @ product.T, COLOURS[0])
        for k, colour in enumerate(COLOURS[1:3]):
            arrow(plot, product @ vt[k], "", colour)
        plot.set(xlim=(-limit, limit), ylim=(-limit, limit))
    numbers = {
        "singular values": sigma.tolist(),
        "U Σ Vᵀ - A": float(np.abs((u * sigma) @ vt - a).max()),
        "longest image of a unit vector": float(np.linalg.norm(CIRCLE @ a.T, axis=1).max()),
        "‖A‖² - Σ σ²": float((a**2).sum() - (sigma**2).sum()),
        "eigenvalues of AᵀA - σ²": float(np.abs(np.linalg.eigvalsh(a.T @ a)[::-1] - sigma**2).max()),
    }
    return Result(numbers, figure)


def pseudoinverse(settings: LessonSettings, noise: float = 1.0) -> Result:
    """The pseudoinverse and least squares.

    A system of more equations than unknowns, X w = y, usually has no solution; w = X⁺ y has the smallest error, with X⁺
    = V Σ⁻¹ Uᵀ, its pseudoinverse. The residual, what is left of y, is orthogonal to the columns of X, which is the
    normal equation XᵀX w = Xᵀ y. If XᵀX has no inverse, as for two equal columns, X⁺ still exists, and X⁺ y has the
    smallest norm among all solutions w.
    """
    rng = np.random.default_rng(settings.seed)
    x = np.sort(rng.uniform(0, 2, 40))
    y = 5 + 7 * x + noise * rng.normal(size=40)
    matrix = np.stack([np.ones(40), x], 1)  # (40, 2)
    x_plus = np.linalg.pinv(matrix)
    w = x_plus @ y
    figure, (plot,) = plots_in_rows(["residuals of the best line"], 1, 3.4)
    plot.vlines(x, y, matrix @ w, color=COLOURS[1], linewidth=0.8)
    plot.plot(x, matrix @ w, color=COLOURS[0])
    scatter(plot, np.stack([x, y], 1))
    name_axes(plot, "x", "y")
    equal_columns = np.stack([np.ones(40), x, x], 1)  # XᵀX has no inverse
    numbers = {
        "w": w.tolist(),
        "X X⁺ X - X": float(np.abs(matrix @ x_plus @ matrix - matrix).max()),
        "Xᵀ (y - X w)": float(np.abs(matrix.T @ (y - matrix @ w)).max()),
        "X⁺ - inverse(XᵀX) Xᵀ": float(np.abs(x_plus - np.linalg.solve(matrix.T @ matrix, matrix.T)).max()),
        "w of two equal columns": (np.linalg.pinv(equal_columns) @ y).tolist(),
    }
    return Result(numbers, figure)


def digits(settings: LessonSettings) -> Result:
    """Principal components of digits.

    Each of 1,797 digits is a row of 64 pixels. For the centred matrix X = U Σ Vᵀ, the rows of Vᵀ are the principal
    components: the directions in which the digits vary most, orthogonal, with the variances σ²/(n - 1). They are the
    eigenvectors of the covariance matrix. The lesson `pca` reconstructs digits from the first few of them.
    """
    x = load_digits().data / 16  # (1797, 64)
    centred = x - x.mean(0)
    _, sigma, vt = np.linalg.svd(centred, full_matrices=False)
    covariance = np.cov(x.T)
    variances = sigma**2 / (len(x) - 1)
    numbers = {
        "σ²/(n - 1) - eigenvalues of the covariance": float(
            np.abs(variances - np.linalg.eigvalsh(covariance)[::-1]).max()
        ),
        "V Vᵀ - I": float(np.abs(vt @ vt.T - np.eye(64)).max()),
        "covariance - V Σ² Vᵀ/(n - 1)": float(np.abs(covariance - (vt.T * variances) @ vt).max()),
        "share of the variance of the first 7": float(variances[:7].sum() / variances.sum()),
    }
    titles = ["mean", *(f"component {k + 1}" for k in range(7))]
    return Result(numbers, sheet(np.stack([x.mean(0), *vt[:7]]).reshape(-1, 8, 8), "", titles, signed=True, columns=4))


STEPS = (norms, eigenvectors, decomposition, pseudoinverse, digits)
GUIDE = Guide(
    question="What does a matrix do to space, and which directions are special to it?",
    minutes=20,
    needs=(),
    guesses={
        "norms": Guess(
            "In a city with streets along x and y, how long is the way from (0, 0) to (3, 4)?",
            ("5, by Pythagoras", "7, the L1 norm", "4, the longer side"),
            1,
            "One walks 3 along x and 4 along y. 5 is the way of a bird, the L2 norm, and 4 is the L∞ norm.",
        ),
        "eigenvectors": Guess(
            "A symmetric matrix maps the unit circle to an ellipse. How many lines through the middle stay where they "
            "are?",
            ("none", "two", "all"),
            1,
            "The two axes of the ellipse: each is stretched by its eigenvalue and does not turn. All other lines do.",
        ),
        "decomposition": Guess(
            "A matrix is not symmetric. Can one still find two orthogonal arrows that are orthogonal afterwards too?",
            ("no, it shears all angles", "yes, always"),
            1,
            "The right singular vectors are such arrows, for every matrix. They may turn, though, unlike eigenvectors.",
        ),
    },
    sliders={
        "norms": (
            Slider(
                "p",
                "p of the middle curve",
                (0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 20.0),
                {
                    0.5: (
                        "Below 1 the curve bends inwards, and the formula is no norm: two sides can be shorter than "
                        "the third."
                    ),
                    20.0: "Almost the square of L∞.",
                },
            ),
        ),
        "eigenvectors": (
            Slider(
                "mixing",
                "the entries beside the diagonal",
                (-1.0, 0.0, 0.5, 1.0, 1.5, 2.0),
                {
                    0.0: "A diagonal matrix: the eigenvectors are the axes.",
                    2.0: "One eigenvalue is negative: its vector is turned around.",
                },
            ),
        ),
        "decomposition": (
            Slider(
                "shear",
                "upper right entry of A",
                (-3.6, -2.0, 0.0, 0.5, 1.0, 2.0),
                {
                    -3.6: "The second singular value is 0: the circle becomes a line, and A has no inverse.",
                    0.5: "The columns are nearly orthogonal: the ellipse is rounder.",
                },
            ),
        ),
        "pseudoinverse": (
            Slider(
                "noise", "standard deviation of the noise", (0.0, 0.5, 1.0, 2.0, 4.0), {0.0: "Exactly y = 5 + 7 x."}
            ),
        ),
    },
    notices={
        "norms": (
            "The blue square stands on a corner and the green one on a side; the circle is between them. They touch "
            "at the four points on the axes, where only one entry is not 0. Move p and see the middle curve go from "
            "one to the other.",
        ),
        "eigenvectors": (
            "The black arrows have length 1 and end on the grey circle. The orange ones end on the blue ellipse, in "
            "the same directions: these are its longest and its shortest radius.",
            "With larger entries beside the diagonal the ellipse becomes longer and thinner, and at √3 = 1.73 it is "
            "flat.",
        ),
        "decomposition": (
            "Follow the two arrows. They are turned to the axes, stretched by 1.84 and 1.25, and turned again. They "
            "are orthogonal in every picture.",
        ),
        "pseudoinverse": (
            "The vertical lines are the residuals, whose squares have the smallest possible sum. Those above and "
            "those below the line cancel exactly: the residual is orthogonal to the column of ones.",
        ),
        "digits": (
            "The mean is a blur of all digits. In the components blue and ochre are opposite: a digit with much ink "
            "in the blue pixels has little in the ochre ones, or the reverse. The first seven hold 64 % of the "
            "variance.",
        ),
    },
    exercises=(
        Exercise(
            "A 2 x 2 matrix has the trace 7 and the determinant 10. What is its larger eigenvalue?",
            5,
            0.01,
            "The two eigenvalues have the sum 7 and the product 10: they are 5 and 2.",
            {2: "That is the smaller one.", 3.5: "That is their mean."},
        ),
        Exercise(
            "What is the largest length of A x for unit vectors x, if A = [[3, 0], [4, 0]]?",
            5,
            0.01,
            "A x is x1 · (3, 4), and |x1| is at most 1: the length is at most √(9 + 16) = 5.",
            {4: "Both entries of the column count: √(3² + 4²).", 7: "That is the length in the L1 norm."},
        ),
        Exercise(
            "What is the slope of the least-squares line through (0, 1), (1, 2) and (3, 6)?",
            12 / 7,
            0.01,
            "The means are 4/3 and 3. The sum of (x - 4/3)(y - 3) is 8, that of (x - 4/3)² is 14/3: 8/(14/3) = 1.714.",
            {
                1.667: "That is the line through the first and the last point.",
                2: "The line has an offset too: 20/10 holds only for a line through (0, 0).",
            },
        ),
    ),
    functions={
        "fit": FunctionExercise(
            "fit(x, y): the weights w (D,) with the least sum of squares of y - x w, for x (N, D) and y (N,).",
            lambda x, y: np.asarray(pinv(x)) @ y,
            lambda random: (random.normal(size=(9, 3)), random.normal(size=9)),
            "def fit(x, y):\n    return np.linalg.solve(x.T @ x, x.T @ y)",
        )
    },
    later="Layers are matrices, penalties on weights are norms, and principal components are singular vectors.",
)
