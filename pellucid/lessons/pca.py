# scikit-learn has no type annotations, and the types inferred from its code are wrong in places.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportAssignmentType=false
# pyright: reportGeneralTypeIssues=false, reportOptionalSubscript=false
"""Principal component analysis.

Principal components are the orthogonal directions in which data vary most. They are the eigenvectors of the covariance
matrix. The projection on the first few components keeps most of the variance, so a few coordinates describe each
example. `PCA` is scikit-learn's class.
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from pellucid.lessons.guide import Exercise, FunctionExercise, Guess, Guide, Slider
from pellucid.lessons.lesson import Result, Setting
from pellucid.report.figures.pictures import sheet
from pellucid.report.figures.plane import arrow, name_tags, scatter
from pellucid.report.figures.series import COLOURS, curves, name_axes, plots_in_rows


def directions(setting: Setting, covariance: float = 1.5) -> Result:
    """Directions of a cloud of points.

    300 points are drawn from a Gaussian whose covariance is [[3, c], [c, 1]], with c = 1.5. The arrows are the
    components, two standard deviations long: the first points along the cloud, the second is orthogonal to it. After
    rotation to these axes, the two coordinates are uncorrelated.
    """
    points = np.random.default_rng(setting.seed).multivariate_normal([0, 0], [[3, covariance], [covariance, 1]], 300)
    pca = PCA(2).fit(points)
    rotated = pca.transform(points)
    figure, (left, right) = plots_in_rows(["points and components", "rotated to the components"], 2, 3.0, square=True)
    scatter(left, points, size=8)
    for k, (direction, variance) in enumerate(zip(pca.components_, pca.explained_variance_, strict=True)):
        arrow(left, 2 * np.sqrt(variance) * direction, "", COLOURS[k + 1], pca.mean_)
    scatter(right, rotated, size=8)
    name_axes(right, "first component", "second component")
    values, vectors = np.linalg.eigh(np.cov(points.T))
    misalignments = np.abs(np.abs(np.diag(pca.components_ @ vectors[:, ::-1])) - 1)  # |cos| of the angle between them
    numbers = {
        "variances": pca.explained_variance_.tolist(),
        "share of the first": float(pca.explained_variance_ratio_[0]),
        "variances - eigenvalues of the covariance": float(np.abs(pca.explained_variance_ - values[::-1]).max()),
        "components beside its eigenvectors": float(misalignments.max()),
        "correlation after rotation": float(np.corrcoef(rotated.T)[0, 1]),
    }
    return Result(numbers, figure)


def plane(setting: Setting) -> Result:
    """Digits in a plane.

    1,797 digits of 64 pixels each are projected on their first two components. Their colours are their classes, which
    PCA does not use. Two components contain 29 % of the variance, and already separate many of the digits.
    """
    x, y = load_digits(return_X_y=True)
    pca = PCA(2).fit(x)
    points = pca.transform(x)
    figure, (plot,) = plots_in_rows(["1,797 digits"], 1, 4.6)
    scatter(plot, points, y, size=9)
    name_tags(plot, {str(k): points[y == k].mean(0) for k in range(10)})
    name_axes(plot, "first component", "second component")
    explained_variance = float(pca.explained_variance_ratio_.sum())
    total_variance = float(x.var(0, ddof=1).sum())
    return Result(
        {
            "variance kept": explained_variance,
            "variance kept, by hand": float(points.var(0, ddof=1).sum()) / total_variance,
        },
        figure,
    )


def reconstruction(setting: Setting, components: int = 8) -> Result:
    """How many components.

    A digit is reconstructed from its first k components and the mean. The mean squared error of all digits is the
    sum of the variances of the other components, times (n - 1)/n. No approximation by a matrix of rank k has a
    smaller error (Eckart and Young 1936).
    """
    x = load_digits().data / 16
    pca = PCA().fit(x)
    images, titles, errors = [x[:8]], ["64 pixels"] + [""] * 7, {}
    for k in sorted({2, components, 16, 32}):
        reconstructed = pca.mean_ + pca.transform(x)[:, :k] @ pca.components_[:k]
        errors[k] = float(((x - reconstructed) ** 2).sum(1).mean())
        images.append(reconstructed[:8].clip(0, 1))
        titles += [f"{k} components"] + [""] * 7
    n_components = int(np.searchsorted(np.cumsum(pca.explained_variance_ratio_), 0.95)) + 1
    omitted_variances = {k: float(pca.explained_variance_[k:].sum()) * (len(x) - 1) / len(x) for k in errors}
    numbers = {
        "components for 95 % of the variance": n_components,
        "mean squared error by components": errors,
        "error - variances left out": max(abs(errors[k] - omitted_variances[k]) for k in errors),
    }
    digits = np.concatenate(images).reshape(-1, 8, 8)
    return Result(numbers, sheet(digits, "", titles, signed=False, columns=8, largest=0.8))


def features(setting: Setting) -> Result:
    """Components as features.

    A softmax regression classifies the digits from their first k components. With 20 of them it is nearly as accurate
    as with all 64 pixels. PCA is part of the pipeline, so it is fitted to the training images only.
    """
    x, y = load_digits(return_X_y=True)
    x, x_test, y, y_test = train_test_split(x / 16, y, test_size=0.3, random_state=setting.seed, stratify=y)
    counts = [1, 2, 5, 10, 20, 40, 64]
    scores = [make_pipeline(PCA(k), LogisticRegression(max_iter=1000)).fit(x, y).score(x_test, y_test) for k in counts]
    figure = curves({"softmax regression": scores}, "components", "test accuracy", counts, log_x=True)
    return Result({f"{k} components: test accuracy": score for k, score in zip(counts, scores, strict=True)}, figure)


STEPS = (directions, plane, reconstruction, features)
GUIDE = Guide(
    question="An image of a digit has 64 numbers. How many are needed to recognize it?",
    minutes=15,
    needs=("linear-algebra",),
    guesses={
        "directions": Guess(
            "The cloud is long and narrow. What are its two coordinates after the rotation to the components?",
            ("uncorrelated", "equal", "as correlated as before"),
            0,
            "The components are the axes of the cloud. Along them, knowing one coordinate says nothing linear about "
            "the other.",
        ),
        "features": Guess(
            "With 20 of 64 components, the classifier loses most of its accuracy?",
            ("yes, two thirds of the numbers are missing", "no, it is nearly as accurate"),
            1,
            "The first 20 components contain almost all of the variance; the others are mostly noise of single pixels.",
        ),
    },
    sliders={
        "directions": (
            Slider(
                "covariance",
                "covariance c of the two coordinates",
                (-1.5, 0.0, 0.8, 1.5, 1.7),
                {
                    0.0: "The cloud lies along the axes of the plane, up to the chance of 300 draws.",
                    1.7: "Near the limit √3, at which all points lie on a line.",
                },
            ),
        ),
        "reconstruction": (
            Slider(
                "components",
                "components of one row of the figure",
                (1, 4, 8, 12, 24, 64),
                {64: "All components: the digits are reconstructed exactly."},
            ),
        ),
    },
    notices={
        "directions": (
            "The long arrow points along the cloud and the short one across it. On the right the same points are drawn "
            "in the coordinates of the arrows: the cloud has not changed its shape, only its direction.",
        ),
        "plane": (
            "Some digits form islands, others overlap. No class was used: what separates them is that images of one "
            "digit resemble each other.",
        ),
        "reconstruction": (
            "With 2 components all digits look like a few blurred ones. With 16 they can be read, and with 32 they are "
            "hardly different from the first row.",
        ),
        "features": ("The curve rises steeply up to 10 components and is flat beyond 20.",),
    },
    exercises=(
        Exercise(
            "The variances along three components are 6, 3 and 1. Which share of the variance, in per cent, does the "
            "first keep?",
            60,
            0.01,
            "6 / (6 + 3 + 1) = 60 %.",
            {6: "This is the variance itself; divide it by the sum of all."},
        ),
        Exercise(
            "For a covariance of [[3, 0], [0, 1]], what is the variance along the first component?",
            3,
            0.001,
            "The eigenvalues of a diagonal matrix are its entries, and the largest comes first.",
            {4: "4 is the sum of both variances."},
        ),
    ),
    functions={
        "first_component_variance": FunctionExercise(
            "first_component_variance(x): the variance (with n - 1) of the rows of x (N, D) along the first component.",
            lambda x: np.linalg.svd(x - x.mean(0), compute_uv=False)[0] ** 2 / (len(x) - 1),
            lambda random: (random.normal(size=(30, 4)) * [3, 1, 1, 0.5],),
            "def first_component_variance(x):\n    return np.linalg.eigvalsh(np.cov(x.T))[-1]",
        )
    },
    later="Features of a network are looked at in the same way, and colour augmentation moves along such components.",
)
