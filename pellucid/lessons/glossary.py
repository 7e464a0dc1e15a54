"""The terms of the course: what each means, in a sentence for beginners, and the lesson that explains it."""

from typing import NamedTuple

from pellucid.lessons.lesson import outline


class GlossaryTerm(NamedTuple):
    """A term: its meaning, and the lesson of LESSONS that explains it."""

    meaning: str
    lesson: str


GLOSSARY = {
    "accuracy": GlossaryTerm("The fraction of examples whose class is predicted correctly.", "neighbours"),
    "activation": GlossaryTerm(
        "The output of a neuron, or the function that turns its weighted sum into it, such as the sigmoid.", "neuron"
    ),
    "Adam": GlossaryTerm("An optimizer that divides each weight's step by the usual size of its gradient.", "descent"),
    "anchor": GlossaryTerm("A box of fixed size and place, from which a detector predicts an object's box.", "boxes"),
    "annealed mean": GlossaryTerm("The mean of a distribution that a low temperature has sharpened.", "colorization"),
    "average precision": GlossaryTerm("The area under the curve of precision against recall; 1 is perfect.", "boxes"),
    "backpropagation": GlossaryTerm(
        "Computes the derivatives of the cost from the last layer to the first.", "backprop"
    ),
    "bagging": GlossaryTerm("Training several models on random draws of the examples, and letting them vote.", "trees"),
    "batch": GlossaryTerm("The examples whose gradients are averaged for one step.", "descent"),
    "bias": GlossaryTerm("A number that a neuron adds to its weighted sum.", "perceptron"),
    "calibrated": GlossaryTerm("Said of probabilities that are right as often as they say.", "nonsense"),
    "centre": GlossaryTerm("The mean of the points of a cluster.", "kmeans"),
    "channel": GlossaryTerm("One of the grids of numbers of an image; a colour image has three.", "convolution"),
    "chroma": GlossaryTerm("The distance of a colour from grey of the same lightness.", "colorization"),
    "cluster": GlossaryTerm("A group of points that are near each other.", "kmeans"),
    "convolution": GlossaryTerm(
        "Slides a kernel over an image, and adds up the products at each position.", "convolution"
    ),
    "cost": GlossaryTerm(
        "A number that says how wrong the outputs are; training makes it small. Also called loss.", "neuron"
    ),
    "cross-correlation": GlossaryTerm(
        "Slides a kernel over an image without flipping it, as convolutional layers do.", "convolution"
    ),
    "cross-entropy": GlossaryTerm(
        "The negative logarithm of the probability that was given to the right class.", "cost"
    ),
    "dilation": GlossaryTerm("The distance between the pixels that a kernel reads.", "convolution"),
    "discriminator": GlossaryTerm("The network of a GAN that tells real from generated examples.", "gan"),
    "dropout": GlossaryTerm("Leaves out random neurons in each step of training, against overfitting.", "overfitting"),
    "early stopping": GlossaryTerm("Ends the training when the cost of held-out examples rises.", "overfitting"),
    "eigenvalue": GlossaryTerm("The factor by which a matrix stretches its eigenvector.", "linear-algebra"),
    "eigenvector": GlossaryTerm("A vector whose direction a matrix does not change.", "linear-algebra"),
    "epoch": GlossaryTerm("One pass over all training examples.", "perceptron"),
    "feature map": GlossaryTerm("The output of one kernel of a convolution: a value for each position.", "convolution"),
    "filter": GlossaryTerm(
        "The weights for one window in all channels, and a bias; it computes one feature map.", "convolution"
    ),
    "fine-tuning": GlossaryTerm("Training the weights of a trained network further, for another task.", "transfer"),
    "finite difference": GlossaryTerm("A derivative measured by changing one number a little.", "backprop"),
    "generator": GlossaryTerm("A network that turns random numbers into examples, such as images.", "gan"),
    "gradient": GlossaryTerm("All derivatives of the cost; it points to where the cost rises fastest.", "descent"),
    "Hessian": GlossaryTerm("The matrix of all second derivatives: the curvature of the cost.", "landscape"),
    "hidden layer": GlossaryTerm("Neurons between the inputs and the outputs.", "perceptron"),
    "hinge loss": GlossaryTerm("The cost of a point inside the margin or on the wrong side.", "svm"),
    "hyperparameter": GlossaryTerm("A number that is chosen before the training, not learned.", "neighbours"),
    "inertia": GlossaryTerm("The sum of the squared distances of points to their centres.", "kmeans"),
    "IoU": GlossaryTerm("Intersection over union: how much two boxes overlap, from 0 to 1.", "boxes"),
    "kernel": GlossaryTerm("The small grid of weights that a convolution slides over an image.", "convolution"),
    "L1": GlossaryTerm(
        "The norm that adds up absolute values. As a penalty on the weights, it makes many of them 0.", "linear-algebra"
    ),
    "L2": GlossaryTerm(
        "The norm that is the root of the sum of squares. As a penalty, it keeps the weights small.", "overfitting"
    ),
    "layer": GlossaryTerm("Neurons that compute side by side, from the outputs of the layer before.", "perceptron"),
    "learning rate": GlossaryTerm("The factor between the gradient and a step.", "descent"),
    "logit": GlossaryTerm(
        "The weighted sum of an output neuron before the softmax or sigmoid turns it into a probability.", "nonsense"
    ),
    "loss": GlossaryTerm("Another word for the cost.", "neuron"),
    "margin": GlossaryTerm("The strip between two classes without points in it.", "svm"),
    "maximum mean discrepancy": GlossaryTerm("A distance of two samples, computed with a kernel.", "gan"),
    "mini-batch": GlossaryTerm(
        "A small batch: a few of the training examples, from which one step is computed.", "descent"
    ),
    "mode collapse": GlossaryTerm("A generator serves only some kinds of examples.", "gan"),
    "momentum": GlossaryTerm(
        "Keeps a part of the previous step in each step, so that steps in the same direction add up.", "descent"
    ),
    "multiply-add": GlossaryTerm("A product that is added to a sum: how computation is counted.", "convolution"),
    "neuron": GlossaryTerm(
        "A unit of a network: it adds up its weighted inputs and a bias, and turns the sum into its output.",
        "perceptron",
    ),
    "non-maximum suppression": GlossaryTerm("Removes boxes that overlap a box with a better score.", "boxes"),
    "optimizer": GlossaryTerm("The rule that turns gradients into steps of the weights.", "descent"),
    "overfitting": GlossaryTerm(
        "Learning the training examples by heart, so that new ones are predicted badly.", "overfitting"
    ),
    "padding": GlossaryTerm("A border of zeros around an image.", "convolution"),
    "parameter": GlossaryTerm("A number that training changes: a weight or a bias.", "convolution"),
    "perceptron": GlossaryTerm(
        "A neuron that outputs 1 if its weighted sum is positive, and 0 otherwise.", "perceptron"
    ),
    "pooling": GlossaryTerm("Replaces each window of a map by its largest value or its mean.", "convolution"),
    "precision": GlossaryTerm("The fraction of the detections that are right.", "boxes"),
    "principal component": GlossaryTerm("A direction in which the data vary most.", "pca"),
    "random forest": GlossaryTerm(
        "Trees that are trained on random draws of examples and features, and vote.", "trees"
    ),
    "recall": GlossaryTerm("The fraction of the objects that are found.", "boxes"),
    "receptive field": GlossaryTerm("The pixels that a value of a layer depends on.", "convolution"),
    "regularization": GlossaryTerm("A penalty or a disturbance that keeps a network from overfitting.", "overfitting"),
    "ReLU": GlossaryTerm("The function max(0, z), by which many networks replace the sigmoid.", "initialisation"),
    "saturated": GlossaryTerm("Said of a neuron whose output hardly changes with its sum.", "neuron"),
    "score": GlossaryTerm("The number that a network gives to a class; the largest is its answer.", "deconvnet"),
    "sigmoid": GlossaryTerm("The function 1 / (1 + exp(-z)), a smooth step from 0 to 1.", "neuron"),
    "softmax": GlossaryTerm("Turns scores into probabilities that add up to 1.", "softmax"),
    "stride": GlossaryTerm("By how many pixels a kernel moves from one position to the next.", "convolution"),
    "support vector": GlossaryTerm("A point that holds the boundary of a support vector machine.", "svm"),
    "temperature": GlossaryTerm("A number by which scores are divided before the softmax.", "nonsense"),
    "transfer learning": GlossaryTerm("Using what a network has learned for another task.", "transfer"),
    "vanishing gradient": GlossaryTerm("A gradient that becomes smaller in every layer on its way back.", "vanishing"),
    "variance": GlossaryTerm("The mean squared distance from the mean.", "pca"),
    "weight": GlossaryTerm("The number by which a neuron multiplies one of its inputs.", "perceptron"),
}


def terms_of(name: str) -> dict[str, GlossaryTerm]:
    """Return the terms that a lesson explains, and those of the lessons that come before it.

    In other lessons the same word may mean something else. Raises PellucidError for an unknown name.
    """
    explaining_lessons = {name}
    for need in outline(name).needs:
        explaining_lessons |= {term.lesson for term in terms_of(need).values()}
    return {word: term for word, term in GLOSSARY.items() if term.lesson in explaining_lessons}
