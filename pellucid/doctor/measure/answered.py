"""What a trained model says of classes, where it says anything."""

from pellucid.doctor.case import Case
from pellucid.doctor.finding import UnansweredError
from pellucid.doctor.measure.answers import Answers


def answered(case: Case) -> tuple[Answers, Answers | None] | None:
    """Return the answers of a trained model to samples of training and validation.

    None where it is not trained, does not tell classes, or says NaN: that is another fault than those of data.
    """
    if not case.classifies or not case.trained:
        return None
    try:
        seen, unseen = case.seen, case.unseen
    except UnansweredError:
        return None
    return (seen, unseen) if seen.y.dim() == 2 else None
