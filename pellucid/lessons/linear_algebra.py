# scikit-learn has no type annotations, and the types inferred from its code are wrong in places.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportAssignmentType=false
"""Linear algebra.

The linear algebra behind networks, in pictures: norms and their unit balls, eigenvectors, the singular value
decomposition, the pseudoinverse and least squares, and the principal components of handwritten digits. NumPy computes
them. Each figure shows an identity, and the numbers include the differences between its two sides.
"""

import numpy as np
from sklearn.datasets import load_digits

from pellucid.lessons.guide import Exercise, FunctionExercise, Guess, Guide, Slider
from pellucid.lessons.lesson import Result, Setting
from pellucid.report.figures.pictures import sheet
from pellucid.report.figures.plane import arrow, closed_curve, scatter
from pellucid.report.figures.series import COLOURS, name_axes, plots_in_rows
from pellucid.report.figures.style import SMALL

ANGLES = np.linspace(0, 2 * np.pi, 200, endpoint=False)
CIRCLE = np.stack([np.cos(ANGLES), np.sin(ANGLES)], 1)  # (200, 2)


def norms(setting: Setting) -> Result:
    """Norms.

    A norm ‖x‖_p = (Σ |x_i|^p)^(1/p) is a length of x: L1 is the sum of the absolute values, L2 the Euclidean length,
    and L∞ the largest absolute value. The figure shows the vectors of norm 1. For all x of n entries
    ‖x‖∞ ≤ ‖x‖2 ≤ ‖x‖1 ≤ √n ‖x‖2: the L1 ball is the smallest, and its corners on the axes are the reason why L1
    regularization makes weights 0.
    """
    figure, (plot,) = plots_in_rows(["vectors of norm 1"], 1, 4.0, square=True)
    for (name, p), colour in zip({"L1": 1, "L2": 2, "L∞": np.inf}.items(), COLOURS, strict=False):
        closed_curve(plot, CIRCLE / np.linalg.norm(CIRCLE, p, axis=1, keepdims=True), colour, name)
    plot.legend(frameon=False, fontsize=SMALL)
    x = np.random.default_rng(setting.seed).normal(size=(1000, 5))
    l1, l2, l_inf = (np.linalg.norm(x, p, axis=1) for p in (1, 2, np.inf))
    has_ordered_norms = bool(((l_inf <= l2) & (l2 <= l1) & (l1 <= np.sqrt(5) * l2)).all())
    has_triangle_inequality = bool((np.linalg.norm(x[:500] + x[500:], axis=1) <= l2[:500] + l2[500:]).all())
    example_norms = {
        f"‖(3, 4)‖ by {name}": float(np.linalg.norm([3, 4], p)) for name, p in (("L1", 1), ("L2", 2), ("L∞", np.inf))
    }
    return Result(
        example_norms
        | {"inequalities hold for 1,000 vectors": has_ordered_norms, "triangle inequality": has_triangle_inequality},
        figure,
    )


def eigenvectors(setting: Setting, off_diagonal: float = 1.0) -> Result:
    """Eigenvectors.

    A matrix turns most vectors, but only stretches its eigenvectors: A v = λ v. A symmetric matrix has orthogonal
    eigenvectors, A = Q Λ Qᵀ, and maps the unit circle to an ellipse whose axes are λ v. The eigenvalues sum to the
    trace, and their product is the determinant.
    """
    a = np.array([[2.0, off_diagonal], [off_diagonal, 1.5]])
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


def decomposition(setting: Setting, first_entry: float = 1.5) -> Result:
    """Singular values.

    Every matrix is a rotation, a stretching along the axes and another rotation, each rotation perhaps with a
    reflection: A = U Σ Vᵀ. The right singular vectors v are mapped to σ u, which are orthogonal too. The largest
    singular value is the spectral norm, the largest length of A x for unit vectors x. The Frobenius norm, the root of
    the sum of squares of all entries, is √Σ σ². The squares σ² are the eigenvalues of AᵀA.
    """
    a = np.array([[first_entry, 1.0], [-0.5, 1.2]])
    u, sigma, vt = np.linalg.svd(a)
    titles = ["unit circle", "after Vᵀ", "after Σ: stretched", "after U: A x"]
    figure, plots = plots_in_rows(titles, 4, 2.3, square=True)
    product = np.eye(2)
    for plot, factor in zip(plots, (np.eye(2), vt, np.diag(sigma), u), strict=True):
        product = factor @ product
        closed_curve(plot, CIRCLE @ product.T, COLOURS[0])
        for k, colour in enumerate(COLOURS[1:3]):
            arrow(plot, product @ vt[k], "", colour)
    numbers = {
        "singular values": sigma.tolist(),
        "U Σ Vᵀ - A": float(np.abs((u * sigma) @ vt - a).max()),
        "longest image of a unit vector": float(np.linalg.norm(CIRCLE @ a.T, axis=1).max()),
        "‖A‖² - Σ σ²": float((a**2).sum() - (sigma**2).sum()),
        "eigenvalues of AᵀA - σ²": float(np.abs(np.linalg.eigvalsh(a.T @ a)[::-1] - sigma**2).max()),
    }
    return Result(numbers, figure)


def pseudoinverse(setting: Setting) -> Result:
    """The pseudoinverse and least squares.

    A system of more equations than unknowns, X w = y, usually has no solution; w = X⁺ y has the smallest error, with
    X⁺ = V Σ⁻¹ Uᵀ. Its residual is orthogonal to the columns of X, which is the normal equation XᵀX w = Xᵀ y. If XᵀX
    has no inverse, as for two equal columns, X⁺ still exists, and X⁺ y has the smallest norm among all solutions w.
    """
    rng = np.random.default_rng(setting.seed)
    x = np.sort(rng.uniform(0, 2, 40))
    y = 5 + 7 * x + rng.normal(size=40)
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


def digits(setting: Setting) -> Result:
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
    question="What does a matrix do to an arrow, and which arrows does it leave in their direction?",
    minutes=20,
    needs=("regression",),
    guesses={
        "norms": Guess(
            "Which of the three shapes is a square that stands on a corner?",
            ("the vectors of L1 norm 1", "the vectors of L2 norm 1", "the vectors of L∞ norm 1"),
            0,
            "|x| + |y| = 1 are four straight lines between the points at distance 1 on the axes.",
        ),
        "eigenvectors": Guess(
            "A maps the circle to an ellipse. Where do the eigenvectors of this symmetric matrix point?",
            ("along the axes of the ellipse", "along the axes of the plane", "in the same direction, both"),
            0,
            "An eigenvector keeps its direction, and the longest and the shortest radius of the ellipse are such.",
        ),
    },
    sliders={
        "eigenvectors": (
            Slider(
                "off_diagonal",
                "the two equal entries of A beside the diagonal",
                (-1.0, 0.0, 0.5, 1.0, 1.7, 2.0),
                {
                    0.0: "A is diagonal: the eigenvectors are the axes, and the eigenvalues 1.5 and 2.",
                    1.7: "The determinant 3 - 1.7² is nearly 0: the ellipse is almost flat.",
                    2.0: "One eigenvalue is negative: its eigenvector is turned round.",
                },
            ),
        ),
        "decomposition": (
            Slider(
                "first_entry",
                "the entry of A in the first row and column",
                (-1.0, -0.4, 0.5, 1.5, 3.0),
                {-0.4: "Near -5/12 the determinant is 0, and A presses the circle almost into a line."},
            ),
        ),
    },
    notices={
        "norms": (
            "The corners of the inner shape lie on the axes, where one coordinate is 0. This is why a penalty on the "
            "L1 norm of weights makes some of them exactly 0.",
        ),
        "eigenvectors": (
            "The dark arrows have length 1, and the coloured ones are where A sends them: in the same direction, "
            "longer or shorter. Any other arrow would be turned.",
        ),
        "decomposition": (
            "Follow the two arrows from left to right: the first turn lays them on the axes, the stretching changes "
            "only their lengths, and the last turn keeps them at a right angle.",
        ),
        "pseudoinverse": (
            "The thin lines are what the line of best fit misses. Some point up and some down: their sum is 0, because "
            "the residual is orthogonal to the column of ones.",
        ),
        "digits": (
            "The components are no digits but differences between digits, so they have both signs. The first ones vary "
            "slowly over the picture, the later ones in smaller parts.",
        ),
    },
    exercises=(
        Exercise(
            "What is the L1 norm of (2, -3, 6)?",
            11,
            0.001,
            "2 + 3 + 6 = 11.",
            {7: "7 is its L2 norm, √(4 + 9 + 36).", 5: "The norm adds absolute values; a sign does not cancel."},
        ),
        Exercise(
            "A symmetric 2 x 2 matrix has the trace 5 and the determinant 4. What is its larger eigenvalue?",
            4,
            0.001,
            "The eigenvalues sum to 5 and their product is 4, so they are 1 and 4.",
            {1: "This is the smaller one.", 5: "5 is the sum of both."},
        ),
    ),
    functions={
        "normal_equation": FunctionExercise(
            "normal_equation(x, y): the weights w (D,) with the smallest squared error of x @ w for x (N, D), y (N,).",
            lambda x, y: np.linalg.lstsq(x, y, rcond=None)[0],
            lambda random: (random.normal(size=(12, 3)), random.normal(size=12)),
            "def normal_equation(x, y):\n    return np.linalg.solve(x.T @ x, x.T @ y)",
        )
    },
    later="Principal components, least squares and the speed of gradient descent are all read from these numbers.",
)
