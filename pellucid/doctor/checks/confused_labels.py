"""Many training examples of one class that have the label of another, unlike the validation examples."""

import torch

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding
from pellucid.doctor.inputs import subsample
from pellucid.doctor.simple_classifier import fit_simple_classifier
from pellucid.metrics.functions import confusion_matrix

MIN_EXAMPLES = 200  # in the training data, and in the validation data
MIN_MEMBERS = 12  # examples of a class, in the training data and in the validation data
MIN_CLASSES = 3  # with two classes, labels can only be exchanged, which is label noise
MAX_EXAMPLES = 4_000  # of the training data
MIN_EXCESS = 0.12  # confused fraction of a class in the training data minus the fraction in the validation data
MIN_DEVIATIONS = 4.0  # standard deviations of an excess; so many because some hundred pairs of classes are tested
MIN_JOINT_DEVIATIONS = 2.5  # of those of most classes, each with another class: together, they are no chance
# Sum of a class's excesses over its other confusions, median over classes; above it, the training and validation data
# differ in more than labels.
MAX_OTHER_EXCESS = 0.1
MAX_JOINT_EXCESS = 0.15  # if most classes have the examples of another: these have that one's confusions too
# Of the fraction of a class's examples that are rightly answered in validation: if no more are so in training, the
# classes are numbered otherwise in all of one part of the data.
MAX_OWN_RATE = 0.25
MAX_SHOWN = 6  # pairs


def find(case: Case) -> list[Finding]:
    """Fit a simple classifier to the validation data, and compare its confusion matrices on both data sets.

    Similar classes are confused in both data sets (Northcutt, Jiang and Chuang 2021), wrongly labelled classes only in
    the training data. Unlike in the paper, the validation labels are trusted.
    """
    case = case.judged
    train, validation = case.simple_classifier, case.validation
    if train is None or validation is None:
        return []
    classifier = fit_simple_classifier(validation, case.model.seed, train.classes)
    if classifier is None or len(classifier.classes) < MIN_CLASSES:
        return []
    train_sample = subsample(case.train, MAX_EXAMPLES, case.model.seed)
    n_classes = 1 + int(torch.maximum(train_sample.y.max(), classifier.y.max()))
    in_validation = confusion_matrix(classifier.y, classifier.leave_one_out_predictions, n_classes).double()
    in_train = confusion_matrix(train_sample.y, classifier.predict(train_sample.x), n_classes).double()
    n_train, n_validation = in_train.sum(1, keepdim=True), in_validation.sum(1, keepdim=True)
    validation_rates, train_rates = in_validation / n_validation.clamp_min(1), in_train / n_train.clamp_min(1)
    pooled_rates = ((in_train + in_validation) / (n_train + n_validation).clamp_min(1)).clamp(1 / n_classes**2, 1)
    std = (pooled_rates * (1 - pooled_rates) * (1 / n_train.clamp_min(1) + 1 / n_validation.clamp_min(1))).sqrt()
    excess = train_rates - validation_rates
    is_large = (n_train >= MIN_MEMBERS) & (n_validation >= MIN_MEMBERS)
    is_excess = (excess > MIN_EXCESS) & is_large & ~torch.eye(n_classes, dtype=torch.bool)
    min_pairs = max(MIN_CLASSES, int(is_large.sum()) / 2)
    is_confused = is_excess & (excess > MIN_JOINT_DEVIATIONS * std)
    if int(is_confused.any(1).sum()) < min_pairs or int(is_confused.sum(0).max()) > 1:
        is_confused &= excess > MIN_DEVIATIONS * std
    if not bool(is_confused.any()) or int(is_confused.sum(1).max()) > 1:
        return []
    other_excess = (excess.clamp_min(0) * ~is_confused).fill_diagonal_(0).sum(1)[is_large.flatten()]
    if float(other_excess.median()) > (
        MAX_OTHER_EXCESS if len(is_confused.nonzero()) < min_pairs else MAX_JOINT_EXCESS
    ):
        return []
    pairs = sorted(is_confused.nonzero().tolist(), key=lambda pair: -float(excess[pair[0], pair[1]]))
    own_rates, usual_rates = (rates.diagonal()[is_confused.any(1)].mean() for rates in (train_rates, validation_rates))
    if float(own_rates) < MAX_OWN_RATE * float(usual_rates):
        cause = "training and validation data number their classes in different orders, as if folders were exchanged"
        fix = "use one list of classes for training and validation data, and take the class indices from it"
    elif len(pairs) >= min_pairs:
        cause = "some of the training labels use other class indices, as if two data sets had been merged"
        fix = "map the labels of each source to one list of classes before merging"
    else:
        cause = "many training examples of a class have the label of another, as if a person confused the two classes"
        fix = "look at the examples of these classes, and label them all by one written rule"
    return [
        Finding(
            NAME,
            "train",
            evidence={
                "classes": int(is_large.sum()),
                "classes_with_another_one's_examples": len(pairs),
                "which": ", ".join(f"{case.class_name(b)} labelled {case.class_name(a)}" for a, b in pairs[:MAX_SHOWN]),
                "share_of_their_training_examples": float(train_rates[is_confused].mean()),
                "share_taken_for_it_in_validation": float(validation_rates[is_confused].mean()),
                "training_examples": len(train_sample),
            },
            cause=cause,
            fix=fix,
        )
    ]


NAME = "confused-labels"
CHECK = Check(
    NAME, find, examples=MIN_EXAMPLES, validation_examples=MIN_EXAMPLES, finds_faults=True,
    explains=("label-noise",),
)  # fmt: skip
