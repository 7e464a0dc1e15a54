# scikit-learn has no type annotations, and the types inferred from its code are wrong in places.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportAssignmentType=false
"""Decision trees and forests.

A decision tree tests one feature after the other until it reaches a class. It can be read as rules, and a deep tree
memorizes its training data. Trees that are grown from different examples and features make different mistakes, so a
vote of many trees is more accurate than a single tree (Breiman 1996, 2001). The trees and forests are scikit-learn's.
"""

import numpy as np
from sklearn.datasets import load_digits, load_iris, make_moons
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.tree import DecisionTreeClassifier, export_text

from pellucid.lessons.guide import Exercise, FunctionExercise, Guess, Guide, Slider
from pellucid.lessons.lesson import Result, Setting
from pellucid.report.figures.pictures import sheet
from pellucid.report.figures.plane import regions, scatter
from pellucid.report.figures.series import curves, name_axes, plots_in_rows


def gini_impurity(classes: np.ndarray) -> float:
    """Return the Gini impurity 1 - Σ f² over the relative frequencies f of the classes: 0 for a single class."""
    _, counts = np.unique(classes, return_counts=True)
    return float(1 - ((counts / counts.sum()) ** 2).sum())


def rules(setting: Setting, max_depth: int = 3) -> Result:
    """A tree as rules.

    150 irises of three kinds are classified by the length and width of their petals in centimetres. Each question is
    chosen such that it lowers the Gini impurity, 1 - Σ f² over the relative frequencies f of the classes, the most.
    Three levels of questions divide the plane into rectangles, and can be written as rules that anyone can check.
    """
    iris = load_iris()
    x, y, names = iris.data[:, 2:], iris.target, ["petal length", "petal width"]
    tree = DecisionTreeClassifier(max_depth=max_depth, random_state=setting.seed).fit(x, y)
    feature, threshold = int(tree.tree_.feature[0]), float(tree.tree_.threshold[0])
    child_classes = [y[x[:, feature] <= threshold], y[x[:, feature] > threshold]]
    figure, (plot,) = plots_in_rows(["three kinds of iris, and the regions of the tree"], 1, 3.4)
    regions(plot, tree.predict, x, 3)
    scatter(plot, x, y)
    name_axes(plot, "petal length (cm)", "petal width (cm)")
    numbers = {
        "training accuracy": tree.score(x, y),
        "impurity before the first question": gini_impurity(y),
        "and after": sum(len(classes) / len(y) * gini_impurity(classes) for classes in child_classes),
    }
    lines = export_text(tree, feature_names=names, class_names=list(iris.target_names)).splitlines()
    return Result(numbers | {f"rules, line {k}": line for k, line in enumerate(lines, 1)}, figure)


def depth(setting: Setting, noise: float = 0.3) -> Result:
    """Deep trees overfit.

    The data are two interleaving half circles with noise, 200 training points and 2,000 test points. The deeper the
    tree, the better it fits the training points; the test accuracy peaks, then falls.
    """
    x, y = make_moons(200, noise=noise, random_state=setting.seed)
    test = make_moons(2000, noise=noise, random_state=setting.seed + 1)
    depths = list(range(1, 13))
    trees = [DecisionTreeClassifier(max_depth=k, random_state=setting.seed).fit(x, y) for k in depths]
    scores = {"training": [tree.score(x, y) for tree in trees], "test": [tree.score(*test) for tree in trees]}
    extremes = {name: [row[0], max(row), row[-1]] for name, row in scores.items()}
    titled_rows = {f"{name}: depth 1, best, depth 12": row for name, row in extremes.items()}
    return Result(titled_rows, curves(scores, "depth", "accuracy", depths))


def bagging(setting: Setting) -> Result:
    """Bagging and random features.

    Bagging grows each of 100 deep trees from a different sample of the points, drawn with replacement, which contains
    63 % of them on average: 1 - 1/e. A random forest also allows each question only some of the features, so its trees
    differ more. Votes smooth the ragged boundary of a single tree. The points outside of a tree's sample are test data
    for this tree; the accuracy of the forest on such points is its out-of-bag accuracy.
    """
    x, y = make_moons(200, noise=0.3, random_state=setting.seed)
    test = make_moons(2000, noise=0.3, random_state=setting.seed + 1)
    models = {
        "one tree": DecisionTreeClassifier(random_state=setting.seed),
        "100 trees, bagged": BaggingClassifier(DecisionTreeClassifier(), 100, random_state=setting.seed),
        "random forest": RandomForestClassifier(100, max_features=1, oob_score=True, random_state=setting.seed),
    }
    figure, plots = plots_in_rows(list(models), 3, 2.6)
    numbers: dict[str, object] = {}
    for plot, (name, model) in zip(plots, models.items(), strict=True):
        model.fit(x, y)
        regions(plot, model.predict, x, 2)
        scatter(plot, x, y, size=8)
        numbers[f"{name}: test accuracy"] = model.score(*test)
    fractions = [len(np.unique(rows)) / len(x) for rows in models["100 trees, bagged"].estimators_samples_]
    numbers["share of the points in a sample"] = float(np.mean(fractions))
    numbers["out-of-bag accuracy of the forest"] = float(models["random forest"].oob_score_)
    return Result(numbers, figure)


def forest(setting: Setting) -> Result:
    """A forest compared with logistic regression.

    Two thirds of the 1,797 digits are training data. The figure shows the importance of each pixel: how much the
    questions about it lower the impurity on average over all trees, scaled to the sum 1.
    """
    x, y = load_digits(return_X_y=True)
    x, x_test, y, y_test = train_test_split(x / 16, y, test_size=1 / 3, random_state=setting.seed, stratify=y)
    trees = RandomForestClassifier(100, random_state=setting.seed).fit(x, y)
    numbers = {
        "one tree": DecisionTreeClassifier(random_state=setting.seed).fit(x, y).score(x_test, y_test),
        "random forest": trees.score(x_test, y_test),
        "logistic regression": LogisticRegression(max_iter=1000).fit(x, y).score(x_test, y_test),
        "mean accuracy of the forest's trees": float(
            np.mean([tree.score(x_test, y_test) for tree in trees.estimators_])
        ),
        "sum of the importances": float(trees.feature_importances_.sum()),
    }
    return Result(numbers, sheet(trees.feature_importances_.reshape(1, 8, 8), "importance of the pixels", largest=2.4))


STEPS = (rules, depth, bagging, forest)
GUIDE = Guide(
    question="Can a few yes-or-no questions tell the kinds of a flower apart, and when do more questions do harm?",
    minutes=15,
    needs=("overfitting",),
    guesses={
        "rules": Guess(
            "What does the boundary between two classes of a tree look like?",
            ("horizontal and vertical pieces", "one slanted line", "a smooth curve"),
            0,
            "Each question compares one feature with one number, which cuts the plane along an axis.",
        ),
        "depth": Guess(
            "A deep tree reaches 100 % on the training points. What happens to its accuracy on new points?",
            ("it is lower than that of a tree of medium depth", "it is 100 %, too", "it is that of a coin"),
            0,
            "The deep tree encloses single noisy points in regions of their own, where new points are of the other "
            "class.",
        ),
    },
    sliders={
        "rules": (
            Slider(
                "max_depth",
                "levels of questions",
                (1, 2, 3, 4, 5),
                {
                    1: "One question separates one kind completely; the other two share a region.",
                    5: "Some regions exist for one or two flowers only.",
                },
            ),
        ),
        "depth": (
            Slider(
                "noise",
                "noise of the points",
                (0.05, 0.15, 0.3, 0.5),
                {
                    0.05: "Almost no noise: deeper trees are not worse.",
                    0.5: "Much noise: the test accuracy peaks at a small depth.",
                },
            ),
        ),
    },
    notices={
        "rules": (
            "Each rectangle is one path through the rules below. With one level there are two regions, with each "
            "further level some of them are cut again.",
        ),
        "depth": (
            "The training curve rises to 1. The test curve turns down before: what the tree learns from there on is "
            "the noise of these 200 points.",
        ),
        "bagging": (
            "The single tree has ragged islands around noisy points. In the vote of 100 trees most islands are gone, "
            "since few trees have drawn the same noisy point.",
        ),
        "forest": (
            "The pixels at the left and right edge have no importance: they are 0 in almost every digit. Important are "
            "those where digits differ, such as the hole of a 0.",
        ),
    },
    exercises=(
        Exercise(
            "A group has 30 points of one class and 10 of another. What is its Gini impurity?",
            0.375,
            0.001,
            "1 - (3/4)² - (1/4)² = 1 - 10/16 = 0.375.",
            {0.25: "This is the share of the smaller class.", 0.625: "This is the sum of squares; subtract it from 1."},
        ),
        Exercise(
            "A sample of n points is drawn with replacement from n points. Which share of the points, in per cent, "
            "does it contain on average, for large n?",
            63.2,
            0.3,
            "A point is missed with probability (1 - 1/n)ⁿ, which tends to 1/e = 36.8 %.",
            {36.8: "This share is missing.", 50: "The share does not tend to one half; compute (1 - 1/n)ⁿ."},
        ),
    ),
    functions={
        "impurity": FunctionExercise(
            "impurity(classes): the Gini impurity of an array of class numbers (N,).",
            lambda classes: np.mean(classes[:, None] != classes[None]),
            lambda random: (random.integers(0, 4, 20),),
            "def impurity(classes):\n    counts = np.unique(classes, return_counts=True)[1]\n"
            "    return 1 - ((counts / counts.sum()) ** 2).sum()",
        )
    },
    later="Votes of several networks, and dropout as a vote of many, use the same idea.",
)
