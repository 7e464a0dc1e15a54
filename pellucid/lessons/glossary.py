"""The terms of the course: what each means, in a sentence for beginners, and the lesson that explains it."""

from typing import NamedTuple

from pellucid.lessons.lesson import find_lesson


class Term(NamedTuple):
    """A term: its meaning, and the lesson of LESSONS that explains it."""

    meaning: str
    lesson: str


GLOSSARY = {
    "accuracy": Term("The fraction of examples whose class is predicted correctly.", "neighbours"),
    "anchor": Term("A box of fixed size and place, from which a detector predicts an object's box.", "boxes"),
    "average precision": Term("The area under the curve of precision against recall; 1 is perfect.", "boxes"),
    "backpropagation": Term("Computes the derivatives of the cost from the last layer to the first.", "backprop"),
    "bagging": Term("Training several models on random draws of the examples, and letting them vote.", "trees"),
    "batch": Term("The examples whose gradients are added up for one step.", "descent"),
    "bias": Term("A number that a neuron adds to its weighted sum.", "perceptron"),
    "calibrated": Term("Said of probabilities that are right as often as they say.", "nonsense"),
    "centre": Term("The mean of the points of a cluster.", "kmeans"),
    "cluster": Term("A group of points that are near each other.", "kmeans"),
    "convolution": Term("Slides a kernel over an image, and adds up the products at each position.", "convolution"),
    "cost": Term("A number that says how wrong the outputs are; training makes it small. Also called loss.", "neuron"),
    "cross-entropy": Term("The negative logarithm of the probability that was given to the right class.", "cost"),
    "dilation": Term("The distance between the pixels that a kernel reads.", "convolution"),
    "dropout": Term("Leaves out random neurons in each step of training, against overfitting.", "overfitting"),
    "early stopping": Term("Ends the training when the cost of held-out examples rises.", "overfitting"),
    "eigenvalue": Term("The factor by which a matrix stretches its eigenvector.", "linear-algebra"),
    "eigenvector": Term("A vector whose direction a matrix does not change.", "linear-algebra"),
    "epoch": Term("One pass over all training examples.", "perceptron"),
    "finite difference": Term("A derivative measured by changing one number a little.", "backprop"),
    "gradient": Term("All derivatives of the cost; it points to where the cost rises fastest.", "descent"),
    "Hessian": Term("The matrix of all second derivatives: the curvature of the cost.", "landscape"),
    "hidden layer": Term("Neurons between the inputs and the outputs.", "perceptron"),
    "hinge loss": Term("The cost of a point inside the margin or on the wrong side.", "svm"),
    "hyperparameter": Term("A number that is chosen before the training, not learned.", "neighbours"),
    "inertia": Term("The sum of the squared distances of points to their centres.", "kmeans"),
    "IoU": Term("Intersection over union: how much two boxes overlap, from 0 to 1.", "boxes"),
    "kernel": Term("The small grid of weights that a convolution slides over an image.", "convolution"),
    "learning rate": Term("The factor between the gradient and a step.", "descent"),
    "margin": Term("The strip between two classes without points in it.", "svm"),
    "non-maximum suppression": Term("Removes boxes that overlap a box with a better score.", "boxes"),
    "overfitting": Term(
        "Learning the training examples by heart, so that new ones are predicted badly.", "overfitting"
    ),
    "padding": Term("A border of zeros around an image.", "convolution"),
    "perceptron": Term("A neuron that outputs 1 if its weighted sum is positive, and 0 otherwise.", "perceptron"),
    "pooling": Term("Replaces each window of a map by its largest value or its mean.", "convolution"),
    "precision": Term("The fraction of the detections that are right.", "boxes"),
    "principal component": Term("A direction in which the data vary most.", "pca"),
    "random forest": Term("Trees that are trained on random draws of examples and features, and vote.", "trees"),
    "recall": Term("The fraction of the objects that are found.", "boxes"),
    "receptive field": Term("The pixels that a value of a layer depends on.", "convolution"),
    "regularization": Term("A penalty or a disturbance that keeps a network from overfitting.", "overfitting"),
    "ReLU": Term("The function max(0, z), by which many networks replace the sigmoid.", "initialisation"),
    "saturated": Term("Said of a neuron whose output hardly changes with its sum.", "neuron"),
    "sigmoid": Term("The function 1 / (1 + exp(-z)), a smooth step from 0 to 1.", "neuron"),
    "softmax": Term("Turns scores into probabilities that add up to 1.", "softmax"),
    "stride": Term("By how many pixels a kernel moves from one position to the next.", "convolution"),
    "support vector": Term("A point that holds the boundary of a support vector machine.", "svm"),
    "temperature": Term("A number by which scores are divided before the softmax.", "nonsense"),
    "vanishing gradient": Term("A gradient that becomes smaller in every layer on its way back.", "vanishing"),
    "variance": Term("The mean squared distance from the mean.", "pca"),
    "weight": Term("The number by which a neuron multiplies one of its inputs.", "perceptron"),
}


def terms_of(name: str) -> dict[str, Term]:
    """Return the terms that a lesson explains, and those of the lessons that come before it.

    In other lessons the same word may mean something else. Raises PellucidError for an unknown name.
    """
    explaining = {name}
    for need in find_lesson(name).GUIDE.needs:
        explaining |= {term.lesson for term in terms_of(need).values()}
    return {word: term for word, term in GLOSSARY.items() if term.lesson in explaining}
