"""Key-points whose left and right are exchanged."""

import torch

from pellucid.doctor.detection.case import DetectionCase
from pellucid.doctor.finding import Check, Evidence, Finding

SHARE = 0.01  # of the objects, and at least MIN_FLIPPED
MIN_FLIPPED, MIN_OBJECTS = 2, 10
AGREE = 0.9  # of an object's pairs lie in the other order


def look(case: DetectionCase) -> list[Finding]:
    """Compare the order of left and right key-points, in x, with that of most objects."""
    pairs = case.swaps
    if not pairs:
        return []
    left, right = torch.tensor(pairs).T
    orders, images = [], []
    for index, truth in enumerate(case.objects):
        if truth.keypoints is None or not len(truth):
            continue
        both = (truth.keypoints[:, left, 2] > 0) & (truth.keypoints[:, right, 2] > 0)
        sign = (truth.keypoints[:, left, 0] - truth.keypoints[:, right, 0]).sign() * both  # (n, pairs)
        orders.append(sign)
        images += [index] * len(truth)
    order = torch.cat(orders) if orders else torch.zeros(0, len(pairs))
    known = order.abs().sum(1)  # pairs of each object
    against = (order * order.sum(0).sign() < 0).sum(1)
    flipped = (known > 0) & (against >= AGREE * known)
    if int((known > 0).sum()) < MIN_OBJECTS or int(flipped.sum()) < max(MIN_FLIPPED, SHARE * int((known > 0).sum())):
        return []
    evidence: Evidence = {
        "objects": int((known > 0).sum()),
        "with_left_and_right_exchanged": int(flipped.sum()),
        "the_first_of_them_in_image": images[int(flipped.nonzero()[0, 0])],
        "pairs_of_key_points": len(pairs),
    }
    cause = (
        "their left key-points lie where those of most objects are right: the annotations name them from the other "
        "side, or mirror images kept the names (unless these objects are seen from behind)"
    )
    fix = "exchange left and right in these annotations; where images are mirrored, name the pairs in augment.swaps"
    return [Finding(NAME, "train", evidence, cause, fix)]


NAME = "flipped-points"
CHECK = Check(NAME, look, proven=True)
