# scikit-learn has no type annotations, and the types inferred from its code are wrong in places.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportAssignmentType=false
"""k-means.

k-means divides points into k clusters, each around its mean, without using class labels. Lloyd's algorithm alternates
two steps: every point is assigned to the nearest centre, and every centre moves to the mean of its points. Both steps
lower the inertia, the sum of squared distances of the points to their centres, so the algorithm ends in a local
minimum, which depends on the initial centres. `KMeans` is scikit-learn's class.
"""

import numpy as np
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, make_blobs
from sklearn.metrics import adjusted_rand_score, silhouette_score

from pellucid.lessons.lesson import Result, Setting
from pellucid.report.figures.pictures import sheet
from pellucid.report.figures.plane import crosses, regions, scatter
from pellucid.report.figures.series import curves, plots_in_rows


def blobs(seed: int, side: int = 2) -> np.ndarray:
    """Return 300 points around side x side centres, which are 4 apart, (300, 2)."""
    centres = 4 * np.stack(np.meshgrid(range(side), range(side)), -1).reshape(-1, 2)
    return np.asarray(make_blobs(300, centers=centres, cluster_std=0.8, random_state=seed)[0])


def lloyd(setting: Setting) -> Result:
    """Step by step.

    The centres start at the first four points. The figure shows the centres as crosses after 1, 2, 3 and 20
    iterations, and the nearest centre of each point by colour. At the end each centre is the mean of its points. The
    sum of squared distances of the points to the overall mean is the inertia plus the sum of squared distances of the
    centres to this mean, each counted once for each of its points.
    """
    points = blobs(setting.seed)
    iterations = (1, 2, 3, 20)
    fits = [KMeans(4, init=points[:4], n_init=1, max_iter=count).fit(points) for count in iterations]
    figure, plots = plots_in_rows([f"{k} iteration{'s' if k > 1 else ''}" for k in iterations], 4, 2.3, square=True)
    for plot, fit in zip(plots, fits, strict=True):
        scatter(plot, points, fit.labels_, size=6)
        crosses(plot, fit.cluster_centers_)
    last_fit = fits[-1]
    means = np.stack([points[last_fit.labels_ == k].mean(0) for k in range(4)])
    within = float(((points - means[last_fit.labels_]) ** 2).sum())
    between = float(((means[last_fit.labels_] - points.mean(0)) ** 2).sum())
    numbers = {
        "inertia": [float(fit.inertia_) for fit in fits],
        "centres - means": float(np.abs(last_fit.cluster_centers_ - means).max()),
        "inertia - sum of squares": float(last_fit.inertia_) - within,
        "total - within - between": float(((points - points.mean(0)) ** 2).sum()) - within - between,
    }
    return Result(numbers, figure)


def starts(setting: Setting) -> Result:
    """Where it starts decides where it ends.

    Lloyd's algorithm ends in a local minimum. With nine groups, 50 random starts end in many different minima. The
    figure shows the best of them on the left, and on the right the worst, in which one centre covers two groups and
    others share a group. k-means++ draws centres far apart (Arthur and Vassilvitskii 2007); the best of ten such starts
    is used.
    """
    points = blobs(setting.seed, side=3)
    fits = [KMeans(9, init="random", n_init=1, random_state=setting.seed + k).fit(points) for k in range(50)]
    fits.sort(key=lambda fit: fit.inertia_)
    plus_plus_fit = KMeans(9, n_init=10, random_state=setting.seed).fit(points)
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


def count(setting: Setting) -> Result:
    """How many clusters.

    The inertia falls with every additional cluster, down to 0 with one cluster for each point, so its minimum cannot
    determine k, but its curve has an elbow at the number of groups. The silhouette compares the distance of each point
    to its own cluster with the distance to the nearest other cluster. It is largest at the number of groups (Rousseeuw
    1987).
    """
    points = blobs(setting.seed)
    counts = list(range(2, 10))
    fits = {k: KMeans(k, n_init=10, random_state=setting.seed).fit(points) for k in counts}
    silhouettes = [float(silhouette_score(points, fits[k].labels_)) for k in counts]
    inertias = [float(fits[k].inertia_) for k in counts]
    fractions = [inertia / float(((points - points.mean(0)) ** 2).sum()) for inertia in inertias]
    figure = curves({"inertia / total": fractions, "silhouette": silhouettes}, "clusters k", "", counts)
    best_k = counts[int(np.argmax(silhouettes))]
    return Result({"inertia": inertias, "silhouette": silhouettes, "k of the largest silhouette": best_k}, figure)


def digits(setting: Setting) -> Result:
    """Digits without labels.

    1,797 digits are divided into ten clusters: each centre is the mean of its images, and looks like a digit. If each
    cluster is named after the most frequent class among its images, the clusters classify most digits correctly,
    although no class was used to find them. The text above each centre is its name, and the percentage of its images
    that have this class.
    """
    x, y = load_digits(return_X_y=True)
    kmeans = KMeans(10, n_init=4, random_state=setting.seed).fit(x / 16)
    cluster_classes = np.array([np.bincount(y[kmeans.labels_ == k], minlength=10).argmax() for k in range(10)])
    accuracies = [(y[kmeans.labels_ == k] == cluster_classes[k]).mean() for k in range(10)]
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


STEPS = (lloyd, starts, count, digits)
