# scikit-learn has no type annotations, and the types inferred from its code are wrong in places.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportAssignmentType=false
# pyright: reportGeneralTypeIssues=false, reportOptionalSubscript=false
"""Principal component analysis.

Principal components are the orthogonal directions in which data vary most. They are the eigenvectors of the covariance
matrix, which holds the variances of the coordinates and how much each two of them vary together. The projection on the
first few components keeps most of the variance, so a few coordinates describe each example. `PCA` is scikit-learn's
class.
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from pellucid.lessons.guide import Exercise, FunctionExercise, Guess, Guide, Slider
from pellucid.lessons.lesson import LessonSettings, Result
from pellucid.report.figures.pictures import sheet
from pellucid.report.figures.plane import arrow, name_tags, scatter
from pellucid.report.figures.series import COLOURS, curves, name_axes, plots_in_rows


def directions(settings: LessonSettings, covariance: float = 1.5) -> Result:
    """Directions of a cloud of points.

    300 points are drawn from a Gaussian whose covariance matrix is [[3, 1.5], [1.5, 1]]. The arrows are the components,
    two standard deviations long: the first points along the cloud, the second is orthogonal to it. After rotation to
    these axes, the two coordinates are uncorrelated.
    """
    matrix = [[3, covariance], [covariance, 1]]
    points = np.random.default_rng(settings.seed).multivariate_normal([0, 0], matrix, 300)
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


def plane(settings: LessonSettings, vertical: int = 2) -> Result:
    """Digits in a plane.

    1,797 digits of 64 pixels each are projected on their first two components, or on the first and another one. Their
    colours are their classes, which PCA does not use. The first two components contain 29 % of the variance, and
    already separate many of the digits. Each number in the figure is at the mean of its digit.
    """
    x, y = load_digits(return_X_y=True)
    pca = PCA(vertical).fit(x)
    shown_components = [0, vertical - 1]
    points = pca.transform(x)[:, shown_components]
    figure, (plot,) = plots_in_rows(["1,797 digits"], 1, 4.6)
    scatter(plot, points, y, size=9)
    plot.set_ylim(plot.get_xlim())  # one scale for all components
    name_tags(plot, {str(k): points[y == k].mean(0) for k in range(10)})
    name_axes(plot, "component 1", f"component {vertical}")
    explained_variance = float(pca.explained_variance_ratio_[shown_components].sum())
    total_variance = float(x.var(0, ddof=1).sum())
    return Result(
        {
            "variance kept": explained_variance,
            "variance kept, by hand": float(points.var(0, ddof=1).sum()) / total_variance,
        },
        figure,
    )


def reconstruction(settings: LessonSettings, components: int = 8) -> Result:
    """How many components.

    A digit is reconstructed from its first k components and the mean of all digits: the rows of the figure. The mean
    squared error of all digits is the sum of the variances of the other components, times (n - 1)/n. No approximation
    by a matrix of rank k has a smaller error (Eckart and Young 1936).
    """
    x = load_digits().data / 16
    pca = PCA().fit(x)
    images, titles, errors = [x[:8]], ["64 pixels"] + [""] * 7, {}
    for k in sorted({2, components, 16, 32}):
        reconstructed = pca.mean_ + pca.transform(x)[:, :k] @ pca.components_[:k]
        errors[k] = float(((x - reconstructed) ** 2).sum(1).mean())
        images.append(reconstructed[:8].clip(0, 1))
        titles += [f"k = {k}"] + [""] * 7
    n_components = int(np.searchsorted(np.cumsum(pca.explained_variance_ratio_), 0.95)) + 1
    omitted_variances = {k: float(pca.explained_variance_[k:].sum()) * (len(x) - 1) / len(x) for k in errors}
    numbers = {
        "components for 95 % of the variance": n_components,
        "mean squared error by components": errors,
        "error - variances left out": max(abs(errors[k] - omitted_variances[k]) for k in errors),
    }
    digits = np.concatenate(images).reshape(-1, 8, 8)
    return Result(numbers, sheet(digits, "", titles, signed=False, columns=8, max_side=0.8))


def features(settings: LessonSettings) -> Result:
    """Components as features.

    A softmax regression classifies the digits from their first k components. With 20 of them it is nearly as accurate
    as with all 64 pixels. PCA is part of the pipeline, so it is fitted to the training images only.
    """
    x, y = load_digits(return_X_y=True)
    x, x_test, y, y_test = train_test_split(x / 16, y, test_size=0.3, random_state=settings.seed, stratify=y)
    counts = [1, 2, 5, 10, 20, 40, 64]
    scores = [make_pipeline(PCA(k), LogisticRegression(max_iter=1000)).fit(x, y).score(x_test, y_test) for k in counts]
    figure = curves({"softmax regression": scores}, "components", "test accuracy", counts, log_x=True)
    return Result({f"{k} components: test accuracy": score for k, score in zip(counts, scores, strict=True)}, figure)


STEPS = (directions, plane, reconstruction, features)
GUIDE = Guide(
    question="A digit has 64 pixels. How few numbers describe it, and which ones?",
    minutes=15,
    needs=("linear-algebra",),
    guesses={
        "directions": Guess(
            "A cloud of points is long and thin and lies obliquely. Which single number keeps most of where a point "
            "is?",
            ("its x coordinate", "its position along the cloud", "its distance from the middle"),
            1,
            "Points differ most along the cloud. What is left out, the distance across, is small for all of them.",
        ),
        "plane": Guess(
            "Of 64 directions, two are kept, found without knowing which digit is which. What do the classes look "
            "like?",
            ("all mixed", "many of them form groups", "each class is a separate group"),
            1,
            "Images of one digit are alike, so they lie near each other even in two dimensions. But different digits "
            "overlap too.",
        ),
        "reconstruction": Guess(
            "Digits have 64 pixels. How many components are needed for 95 % of the variance?",
            ("61, which is 95 % of 64", "29", "2"),
            1,
            "The first components hold much more variance than the last. Some pixels at the edges hardly vary at all.",
        ),
    },
    sliders={
        "directions": (
            Slider(
                "covariance",
                "covariance of x and y",
                (-1.5, -0.75, 0.0, 0.75, 1.5, 1.7),
                {
                    0.0: "No correlation: the components are nearly the axes themselves.",
                    1.7: "Nearly a line: the second component has hardly any variance.",
                },
            ),
        ),
        "plane": (
            Slider(
                "vertical",
                "component on the vertical axis",
                (2, 3, 4, 6, 10, 20, 40, 60),
                {60: "Almost no variance is left: all points lie on a line."},
            ),
        ),
        "reconstruction": (
            Slider(
                "components",
                "k of one of the rows",
                (1, 4, 8, 12, 24, 48, 64),
                {
                    1: "One number for each digit: all of them are blends of two pictures.",
                    64: "All of them: nothing is lost.",
                },
            ),
        ),
    },
    notices={
        "directions": (
            "The long arrow points along the cloud, and the short one across it at a right angle. In the right "
            "picture both are the axes: the cloud lies flat, and neither coordinate says anything about the other on "
            "average.",
            "Change the sign of the covariance: the cloud leans to the other side, and the arrows turn with it.",
        ),
        "plane": (
            "0, 4 and 6 have regions of their own at the border. In the middle 1, 5, 8 and others overlap. Take a "
            "later component for the vertical axis: the cloud becomes flat, and the groups lie on top of each other.",
        ),
        "reconstruction": (
            "Read the columns from the bottom up: with k = 32 one hardly sees a difference, with 16 the digits are "
            "soft, with 2 most of them are a blur. Each row below the first uses more numbers than the one above it.",
            "Move k and read the mean squared error in the numbers: each component takes away less than the one "
            "before.",
        ),
        "features": (
            "The curve rises steeply up to 10 components and is nearly level from 20 on. The axis is logarithmic: "
            "from 20 to 64 components there are 44 more, and they add less than two percentage points.",
        ),
    },
    exercises=(
        Exercise(
            "Points have the covariance matrix [[2, 1], [1, 2]]. What is their variance along the direction (1, "
            "1)/√2, which is their first component?",
            3,
            0.01,
            "The variance along v is vᵀ C v. C (1, 1) = (3, 3), so (1, 1) is an eigenvector with the eigenvalue 3.",
            {2: "That is the variance of x alone.", 6: "The direction must have length 1: divide (1, 1) by √2."},
        ),
        Exercise(
            "The variances of four components are 6, 3, 0.6 and 0.4. How many components keep 95 % of the variance?",
            3,
            0.1,
            "The sum is 10. Two components keep 90 %, three keep 96 %.",
            {2: "Two components keep (6 + 3)/10 = 90 %.", 4: "Three already keep 96 %."},
        ),
    ),
    functions={
        "reconstruct": FunctionExercise(
            "reconstruct(x, k): the rows of x (N, D) reconstructed from their first k principal components and their "
            "mean (N, D).",
            lambda x, k: (pca := PCA(k, svd_solver="full").fit(x)).inverse_transform(pca.transform(x)),
            lambda random: (random.normal(size=(12, 4)) @ random.normal(size=(4, 4)), int(random.integers(1, 4))),
            """def reconstruct(x, k):
    mean = x.mean(0)
    _, _, components = np.linalg.svd(x - mean, full_matrices=False)
    kept = components[:k]
    return mean + (x - mean) @ kept.T @ kept""",
        )
    },
    later="Components compress data, show many dimensions in a plane, and whiten the inputs of a network.",
)
