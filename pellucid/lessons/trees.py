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
from pellucid.lessons.lesson import LessonSettings, Result
from pellucid.report.figures.pictures import sheet
from pellucid.report.figures.plane import regions, scatter
from pellucid.report.figures.series import curves, name_axes, plots_in_rows


def gini_impurity(classes: np.ndarray) -> float:
    """Return the Gini impurity 1 - Σ f² over the relative frequencies f of the classes: 0 for a single class."""
    _, counts = np.unique(classes, return_counts=True)
    return float(1 - ((counts / counts.sum()) ** 2).sum())


def rules(settings: LessonSettings, levels: int = 3) -> Result:
    """A tree as rules.

    150 irises of three kinds are classified by the length and width of their petals in centimetres. Each question is
    chosen such that it lowers the Gini impurity, 1 - Σ f² over the relative frequencies f of the classes, the most. The
    impurity is 0 if all examples have one class. Three levels of questions divide the plane into rectangles, and can be
    written as rules that anyone can check.
    """
    iris = load_iris()
    x, y, names = iris.data[:, 2:], iris.target, ["petal length", "petal width"]
    tree = DecisionTreeClassifier(max_depth=levels, random_state=settings.seed).fit(x, y)
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


def depth(settings: LessonSettings, points: int = 200, noise: float = 0.3) -> Result:
    """Deep trees overfit.

    The data are two interleaving half circles with noise, 200 training points and 2,000 test points. The depth of a
    tree is the number of questions one after the other. The deeper the tree, the better it fits the training points;
    the test accuracy peaks, then falls.
    """
    x, y = make_moons(points, noise=noise, random_state=settings.seed)
    test_points = make_moons(2000, noise=noise, random_state=settings.seed + 1)
    depths = list(range(1, 13))
    trees = [DecisionTreeClassifier(max_depth=k, random_state=settings.seed).fit(x, y) for k in depths]
    scores = {"training": [tree.score(x, y) for tree in trees], "test": [tree.score(*test_points) for tree in trees]}
    extremes_by_name = {name: [row[0], max(row), row[-1]] for name, row in scores.items()}
    titled_rows = {f"{name}: depth 1, best, depth 12": row for name, row in extremes_by_name.items()}
    return Result(titled_rows, curves(scores, "depth", "accuracy", depths))


def bagging(settings: LessonSettings, trees: int = 100, noise: float = 0.3) -> Result:
    """Bagging and random features.

    Bagging grows each of 100 deep trees from a different sample of the points, drawn with replacement, which contains
    63 % of them on average: 1 - 1/e. A random forest also allows each question only some of the features, so its trees
    differ more. Votes smooth the ragged boundary of a single tree. The points outside of a tree's sample are test data
    for this tree; the accuracy of the forest on such points is its out-of-bag accuracy.
    """
    x, y = make_moons(200, noise=noise, random_state=settings.seed)
    test_points = make_moons(2000, noise=noise, random_state=settings.seed + 1)
    bagging_name = f"{trees} trees, bagged"
    is_out_of_bag = trees >= 50  # with fewer trees, some points are in the samples of all trees
    models = {
        "one tree": DecisionTreeClassifier(random_state=settings.seed),
        bagging_name: BaggingClassifier(DecisionTreeClassifier(), trees, random_state=settings.seed),
        "random forest": RandomForestClassifier(
            trees, max_features=1, oob_score=is_out_of_bag, random_state=settings.seed
        ),
    }
    figure, plots = plots_in_rows(list(models), 3, 2.6)
    numbers: dict[str, object] = {}
    for plot, (name, model) in zip(plots, models.items(), strict=True):
        model.fit(x, y)
        regions(plot, model.predict, x, 2)
        scatter(plot, x, y, size=8)
        numbers[f"{name}: test accuracy"] = model.score(*test_points)
    fractions = [len(np.unique(rows)) / len(x) for rows in models[bagging_name].estimators_samples_]
    numbers["share of the points in a sample"] = float(np.mean(fractions))
    if is_out_of_bag:
        numbers["out-of-bag accuracy of the forest"] = float(models["random forest"].oob_score_)
    return Result(numbers, figure)


def forest(settings: LessonSettings) -> Result:
    """A forest compared with logistic regression.

    Two thirds of the 1,797 digits are training data. The figure shows the importance of each pixel: how much the
    questions about it lower the impurity on average over all trees, scaled to the sum 1.
    """
    x, y = load_digits(return_X_y=True)
    x, x_test, y, y_test = train_test_split(x / 16, y, test_size=1 / 3, random_state=settings.seed, stratify=y)
    forest_model = RandomForestClassifier(100, random_state=settings.seed).fit(x, y)
    numbers = {
        "one tree": DecisionTreeClassifier(random_state=settings.seed).fit(x, y).score(x_test, y_test),
        "random forest": forest_model.score(x_test, y_test),
        "logistic regression": LogisticRegression(max_iter=1000).fit(x, y).score(x_test, y_test),
        "mean accuracy of the forest's trees": float(
            np.mean([tree.score(x_test, y_test) for tree in forest_model.estimators_])
        ),
        "sum of the importances": float(forest_model.feature_importances_.sum()),
    }
    return Result(
        numbers, sheet(forest_model.feature_importances_.reshape(1, 8, 8), "importance of the pixels", max_side=2.4)
    )


STEPS = (rules, depth, bagging, forest)
GUIDE = Guide(
    question="Yes or no, one question after the other: how far does one get, and why do many trees know more than one?",
    minutes=20,
    needs=("neighbours",),
    guesses={
        "depth": Guess(
            "With each level of questions the tree makes fewer mistakes on the training points. Which tree is best "
            "for new points?",
            ("the deepest one", "one of medium depth", "the one with a single question"),
            1,
            "The last questions separate single noisy points. They are right for these points and wrong for new ones "
            "nearby.",
        ),
        "bagging": Guess(
            "From 200 points, 200 are drawn at random, and each is put back. How many different points are among them?",
            ("all 200", "about 126", "about 100"),
            1,
            "A point is missed by one draw with the probability 199/200, and by 200 draws with 0.995 to the power of "
            "200, which is 0.367. So 63 % of 200 points are drawn.",
        ),
    },
    sliders={
        "rules": (
            Slider(
                "levels",
                "levels of questions",
                (1, 2, 3, 4, 5),
                {
                    1: "One question separates one kind, and cannot tell the other two apart.",
                    5: "Narrow rectangles around single flowers.",
                },
            ),
        ),
        "depth": (
            Slider(
                "points",
                "training points",
                (50, 100, 200, 500, 2000),
                {50: "Few points: training and test part early."},
            ),
            Slider("noise", "noise of the points", (0.1, 0.2, 0.3, 0.4)),
        ),
        "bagging": (
            Slider(
                "trees",
                "trees that vote",
                (3, 10, 25, 100),
                {3: "Three votes: the boundary is nearly as ragged as one."},
            ),
            Slider("noise", "noise of the points", (0.2, 0.3, 0.4)),
        ),
    },
    notices={
        "rules": (
            "All borders are horizontal or vertical, since each question compares one feature with one number. The "
            "first question is the border at a width of 0.8 cm: everything below is one kind.",
            "Two of the rules in the numbers end in the same class: their question lowers the impurity, but not the "
            "number of mistakes. In the figure it has no border.",
        ),
        "depth": (
            "Up to depth 2 both curves rise together. Then the blue one rises on, and the orange one hardly moves and "
            "ends lower than its peak. The gap between the curves is what the tree has learned by heart.",
            "Take less noise: the orange curve goes up, and the gap becomes small. Take more training points: the "
            "tree needs more levels to learn them by heart.",
        ),
        "bagging": (
            "On the left look for thin stripes: each is there for one or two points. The votes of many trees have "
            "fewer of them, and their borders are stairs that follow the curve between the moons.",
        ),
        "forest": (
            "The pixels at the left and right edges are nearly white: they are empty in almost all digits, so no "
            "question is asked about them. The darkest pixels separate digits best.",
            "Each tree of the forest is worse than the single tree, and yet their vote is far better: they make "
            "different mistakes.",
        ),
    },
    notice_plots={"bagging": ((0,),)},
    exercises=(
        Exercise(
            "A leaf contains 6 points of one class and 2 of another. What is its Gini impurity?",
            0.375,
            0.001,
            "1 - (6/8)² - (2/8)² = 1 - 36/64 - 4/64 = 0.375.",
            {0.25: "That is the share of the smaller class.", 0.625: "Subtract the sum of squares from 1."},
        ),
        Exercise(
            "A question divides 5 red and 5 blue points: 4 red ones to the left, 1 red and 5 blue ones to the right. "
            "What is the impurity afterwards, each side weighted by its share of the points?",
            1 / 6,
            0.002,
            "Left: 0. Right: 1 - (1/6)² - (5/6)² = 10/36. Together 0.4 · 0 + 0.6 · 10/36 = 0.167.",
            {0.278: "That is the right side alone.", 0.139: "The right side has 6 of 10 points, not half of them."},
        ),
        Exercise(
            "Three trees are right with a probability of 0.8 each, independently of each other. With which "
            "probability is their vote right?",
            0.896,
            0.001,
            "All three are right with 0.512, exactly two with 3 · 0.64 · 0.2 = 0.384; the sum is 0.896.",
            {0.512: "Two right trees are enough.", 0.8: "The vote is right more often than one tree."},
        ),
    ),
    functions={
        "gini": FunctionExercise(
            "gini(classes): the Gini impurity of the classes (N,) of some points, integers.",
            lambda classes: np.mean(classes[:, None] != classes),
            lambda random: (random.integers(0, 4, 15),),
            """def gini(classes):
    fractions = np.unique(classes, return_counts=True)[1] / len(classes)
    return 1 - np.sum(fractions**2)""",
        )
    },
    later="Votes of several networks, ensembles, help for the same reason; dropout trains many networks in one.",
)
