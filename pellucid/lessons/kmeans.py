# scikit-learn has no type annotations, and the types inferred from its code are wrong in places.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportAssignmentType=false
"""k-means.

k-means divides points into k clusters, groups of points around a centre, without using class labels. Lloyd's algorithm
alternates two steps: every point is assigned to the nearest centre, and every centre moves to the mean of its points.
Both steps lower the inertia, the sum of squared distances of the points to their centres, so the algorithm ends in a
local minimum, which depends on the initial centres. `KMeans` is scikit-learn's class.
"""

import numpy as np
from scipy.cluster.vq import vq
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, make_blobs
from sklearn.metrics import adjusted_rand_score, silhouette_score

from pellucid.lessons.guide import Exercise, FunctionExercise, Guess, Guide, Handles, Slider
from pellucid.lessons.lesson import LessonSettings, NumberRows, Result
from pellucid.report.figures.pictures import sheet
from pellucid.report.figures.plane import arrow, crosses, regions, scatter
from pellucid.report.figures.series import curves, plots_in_rows

STARTS = ((0.8, -0.1), (5.6, 0.3), (-0.3, 2.7), (3.6, 0.0))  # of the centres; two of them are in the same group
EDGE = (-3.0, 7.0)  # of the plots


def blobs(seed: int, side: int = 2, spread: float = 0.8) -> np.ndarray:
    """Return 300 points around side x side centres, which are 4 apart, (300, 2); spread: their standard deviation."""
    centres = 4 * np.stack(np.meshgrid(range(side), range(side)), -1).reshape(-1, 2)
    return np.asarray(make_blobs(300, centers=centres, cluster_std=spread, random_state=seed)[0])


def motion(settings: LessonSettings, iteration: int = 1, centres: NumberRows = STARTS) -> Result:
    """One iteration at a time.

    300 points lie in four groups. The centres start anywhere. The figure shows one iteration: on the left every point
    takes the colour of its nearest centre, the cross; on the right every centre has moved to the mean of the points of
    its colour, as the arrows show.
    """
    points = blobs(settings.seed)
    n_clusters = len(centres)
    positions = moved_centres = np.array(centres)
    inertias, nearest_centres = [], np.zeros(len(points), dtype=int)
    for _ in range(iteration):
        positions = moved_centres
        nearest_centres = ((points[:, None] - positions) ** 2).sum(-1).argmin(1)  # (300,)
        moved_centres = np.stack(
            [
                points[nearest_centres == k].mean(0) if (nearest_centres == k).any() else positions[k]
                for k in range(n_clusters)
            ]
        )
        inertias.append(float(((points - moved_centres[nearest_centres]) ** 2).sum()))
    figure, plots = plots_in_rows(["assign: the nearest centre", "move: the mean"], 2, 3.2, square=True)
    for plot, marked_centres in zip(plots, (positions, moved_centres), strict=True):
        scatter(plot, points, nearest_centres, size=10)
        crosses(plot, marked_centres)
        plot.set_xlim(EDGE)
        plot.set_ylim(EDGE)
    for start, shift in zip(positions, moved_centres - positions, strict=True):
        if np.linalg.norm(shift) > 0.01:  # a shorter arrow is only a head
            arrow(plots[1], shift, start=start)
    numbers = {
        "inertia after each iteration": inertias,
        "farthest move of a centre": float(np.linalg.norm(moved_centres - positions, axis=1).max()),
        "points of each cluster": np.bincount(nearest_centres, minlength=n_clusters).tolist(),
    }
    return Result(numbers, figure)


def lloyd(settings: LessonSettings) -> Result:
    """Step by step.

    The centres start at the first four points. The figure shows the centres as crosses after 1, 2, 3 and 20
    iterations, and the nearest centre of each point by colour. At the end each centre is the mean of its points. The
    sum of squared distances of the points to the overall mean is the inertia plus the sum of squared distances of the
    centres to this mean, each counted once for each of its points.
    """
    points = blobs(settings.seed)
    iterations = (1, 2, 3, 20)
    fits = [KMeans(4, init=points[:4], n_init=1, max_iter=count).fit(points) for count in iterations]
    figure, plots = plots_in_rows([f"{k} iteration{'s' if k > 1 else ''}" for k in iterations], 4, 2.3, square=True)
    for plot, fit in zip(plots, fits, strict=True):
        scatter(plot, points, fit.labels_, size=6)
        crosses(plot, fit.cluster_centers_)
    last_fit = fits[-1]
    means = np.stack([points[last_fit.labels_ == k].mean(0) for k in range(4)])
    within_clusters = float(((points - means[last_fit.labels_]) ** 2).sum())
    between_clusters = float(((means[last_fit.labels_] - points.mean(0)) ** 2).sum())
    numbers = {
        "inertia": [float(fit.inertia_) for fit in fits],
        "centres - means": float(np.abs(last_fit.cluster_centers_ - means).max()),
        "inertia - sum of squares": float(last_fit.inertia_) - within_clusters,
        "total - within - between": float(((points - points.mean(0)) ** 2).sum()) - within_clusters - between_clusters,
    }
    return Result(numbers, figure)


def starts(settings: LessonSettings, runs: int = 50) -> Result:
    """Where it starts decides where it ends.

    Lloyd's algorithm ends in a local minimum. With nine groups, 50 random starts end in many different minima. The
    figure shows the best of them on the left, and on the right the worst, in which one centre covers two groups and
    others share a group. k-means++ draws centres far apart (Arthur and Vassilvitskii 2007); the best of ten such starts
    is used.
    """
    points = blobs(settings.seed, side=3)
    fits = [KMeans(9, init="random", n_init=1, random_state=settings.seed + k).fit(points) for k in range(runs)]
    fits.sort(key=lambda fit: fit.inertia_)
    plus_plus_fit = KMeans(9, n_init=10, random_state=settings.seed).fit(points)
    figure, plots = plots_in_rows([f"inertia {fit.inertia_:.0f}" for fit in (fits[0], fits[-1])], 2, 3.0, square=True)
    for plot, fit in zip(plots, (fits[0], fits[-1]), strict=True):
        regions(plot, fit.predict, points, 9)
        scatter(plot, points, fit.labels_, size=8)
        crosses(plot, fit.cluster_centers_)
    numbers = {
        "random starts, inertia of the best and the worst": [float(fit.inertia_) for fit in (fits[0], fits[-1])],
        "k-means++, inertia": float(plus_plus_fit.inertia_),
    }
    return Result(numbers, figure)


def count(settings: LessonSettings, spread: float = 0.8) -> Result:
    """How many clusters.

    The inertia falls with every additional cluster, down to 0 with one cluster for each point, so its minimum cannot
    determine k, but its curve has an elbow at the number of groups. The silhouette compares the distance of each point
    to its own cluster with the distance to the nearest other cluster: it is 1 if clusters are far apart, and 0 if a
    point is as near to another cluster as to its own. It is largest at the number of groups (Rousseeuw 1987), unless
    the groups are so wide that they run into each other.
    """
    points = blobs(settings.seed, spread=spread)
    counts = list(range(2, 10))
    fits = {k: KMeans(k, n_init=10, random_state=settings.seed).fit(points) for k in counts}
    silhouettes = [float(silhouette_score(points, fits[k].labels_)) for k in counts]
    inertias = [float(fits[k].inertia_) for k in counts]
    fractions = [inertia / float(((points - points.mean(0)) ** 2).sum()) for inertia in inertias]
    figure = curves({"inertia / total": fractions, "silhouette": silhouettes}, "clusters k", "", counts)
    best_k = counts[int(np.argmax(silhouettes))]
    return Result({"inertia": inertias, "silhouette": silhouettes, "k of the largest silhouette": best_k}, figure)


def digits(settings: LessonSettings, clusters: int = 10) -> Result:
    """Digits without labels.

    1,797 digits, images of 8 x 8 pixels, are divided into ten clusters: each centre is the mean of its images, and
    looks like a digit. If each cluster is named after the most frequent class among its images, the clusters classify
    most digits correctly, although no class was used to find them. The text above each centre is its name, and the
    percentage of its images that have this class. The adjusted Rand index is 1 if clusters and classes are the same
    division, and 0 on average for a random one.
    """
    x, y = load_digits(return_X_y=True)
    kmeans = KMeans(clusters, n_init=4, random_state=settings.seed).fit(x / 16)
    cluster_classes = np.array([np.bincount(y[kmeans.labels_ == k], minlength=10).argmax() for k in range(clusters)])
    accuracies = [(y[kmeans.labels_ == k] == cluster_classes[k]).mean() for k in range(clusters)]
    order = np.argsort(cluster_classes, kind="stable")
    numbers = {
        "accuracy of the names": float((cluster_classes[kmeans.labels_] == y).mean()),
        "adjusted Rand index": float(adjusted_rand_score(y, kmeans.labels_)),
        "digits without a cluster": sorted(set(range(10)) - set(cluster_classes.tolist())),
    }
    titles = [f"{cluster_classes[k]}: {100 * accuracies[k]:.0f} %" for k in order]
    return Result(
        numbers, sheet(kmeans.cluster_centers_[order].reshape(-1, 8, 8).clip(0, 1), "", titles, signed=False, columns=5)
    )


STEPS = (motion, lloyd, starts, count, digits)
GUIDE = Guide(
    question="Nobody says which points belong together. How can they be sorted into groups nevertheless?",
    minutes=20,
    needs=("neighbours",),
    guesses={
        "motion": Guess(
            "Two of the four centres start in the same group of points. What happens to them?",
            ("both stay there for ever", "one of them moves away, to a group without a centre", "they become one"),
            1,
            "One of them is the nearest centre for some points of a group that has none, so it moves towards them. It "
            "does not always end so well: see the step on where it starts.",
        ),
        "count": Guess(
            "With which number of clusters is the sum of squared distances to the centres smallest?",
            ("with the number of groups", "with as many clusters as points", "with one cluster"),
            1,
            "If each point is its own centre, all distances are 0. The smallest inertia does not find the groups.",
        ),
    },
    sliders={
        "motion": (
            Slider(
                "iteration",
                "iteration",
                (1, 2, 3, 4, 5, 6, 8, 12),
                {12: "The centres have stopped: no point changes its colour any longer."},
            ),
        ),
        "starts": (
            Slider("runs", "random starts", (1, 5, 20, 50), {1: "A single start: the best is also the worst."}),
        ),
        "count": (
            Slider(
                "spread",
                "standard deviation of each group",
                (0.4, 0.8, 1.2, 1.6, 2.0),
                {2.0: "The groups, 4 apart, overlap so much that neither curve points to four of them."},
            ),
        ),
        "digits": (Slider("clusters", "number of clusters k", (5, 10, 15, 20, 30)),),
    },
    notices={
        "motion": (
            "In the first iteration the arrows are long. From then on the colours change only at the borders between "
            "groups, and the arrows become short.",
            "Read the inertia after each iteration in the numbers: it never rises. Then drag all centres into one "
            "group: even from there they nearly always find all four.",
        ),
        "lloyd": (
            "Compare the first and the second picture: the crosses jump into the middle of the groups. Between 3 and "
            "20 iterations one sees no difference: the inertia falls from 375.4 to 374.7 only.",
        ),
        "starts": (
            "On the left each group has one cross. On the right look for a cross between two groups, and for two "
            "crosses in one group. No single move improves this, so the algorithm stops there.",
        ),
        "count": (
            "The blue curve falls all the way, but bends at k = 4. The orange one has its peak there. Make the groups "
            "wider: the bend becomes round, and the peak lower.",
        ),
        "digits": (
            "The two clusters named 1 are two ways to write a 1, and no cluster is named 8: many eights are in the "
            "cluster of straight ones, which is why only 47 % of it are ones. With more clusters the names become "
            "more accurate.",
        ),
    },
    notice_plots={"motion": ((1,), (0,))},
    exercises=(
        Exercise(
            "The points 0, 2, 3 and 9 lie on a line, and the centres are at 0 and 3. Where is the second centre after "
            "one iteration?",
            14 / 3,
            0.01,
            "0 belongs to the first centre; 2, 3 and 9 are nearer to 3. Their mean is 14/3 = 4.67.",
            {
                6: "2 is nearer to 3 than to 0, so it counts too.",
                3: "The centre moves to the mean of its points, not to the one in the middle.",
            },
        ),
        Exercise(
            "The clusters are {0, 1, 5} and {9}, each with its mean as centre. What is the inertia?",
            14,
            0.01,
            "The mean of the first is 2: 4 + 1 + 9 = 14, and the second adds 0.",
            {
                4.667: "That is the mean of the squared distances in the first cluster. Inertia is their sum.",
                6: "The distances are squared before they are added.",
            },
        ),
    ),
    handles={"motion": Handles("centres", "the rings, where the centres start,", "points", STARTS, *EDGE, 0.1)},
    functions={
        "lloyd": FunctionExercise(
            "lloyd(points, centres): the centres (k, D) after one iteration, for points (N, D) and centres (k, D). "
            "Each centre is the nearest one of at least one point.",
            lambda points, centres: np.stack(
                [points[vq(points, centres)[0] == k].mean(0) for k in range(len(centres))]
            ),
            lambda random: (points := random.normal(size=(12, 2)), points[:3]),
            """def lloyd(points, centres):
    distances = ((points[:, None] - centres) ** 2).sum(2)
    nearest = distances.argmin(1)
    return np.array([points[nearest == k].mean(0) for k in range(len(centres))])""",
        )
    },
    later=(
        "Clusters show the structure of images without labels, and find the typical sizes of boxes, the anchors, of "
        "YOLO."
    ),
)
