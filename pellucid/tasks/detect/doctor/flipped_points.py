"""Check for objects whose left and right key-points are exchanged."""

import torch

from pellucid.doctor.finding import Check, Evidence, Finding
from pellucid.tasks.detect.doctor.case import DetectionCase

MIN_FLIPPED_FRACTION = 0.01  # minimum fraction of flipped objects for a finding, in addition to MIN_FLIPPED
MIN_FLIPPED, MIN_OBJECTS = 2, 10
MIN_REVERSED = 0.9  # fraction of a flipped object's pairs whose order is opposite to that in most objects


def find(case: DetectionCase) -> list[Finding]:
    """Compare the order in x of each object's left and right key-points with the order in most objects."""
    pairs = case.swaps
    if not pairs:
        return []
    left, right = torch.tensor(pairs).T
    signs, image_indices = [], []
    for image_index, objects in enumerate(case.objects):
        if objects.keypoints is None or not len(objects):
            continue
        both_visible = (objects.keypoints[:, left, 2] > 0) & (objects.keypoints[:, right, 2] > 0)
        object_signs = (
            objects.keypoints[:, left, 0] - objects.keypoints[:, right, 0]
        ).sign() * both_visible  # (n, pairs)
        signs.append(object_signs)
        image_indices += [image_index] * len(objects)
    all_signs = torch.cat(signs) if signs else torch.zeros(0, len(pairs))
    n_pairs = all_signs.abs().sum(1)  # of each object, with both key-points
    n_reversed = (all_signs * all_signs.sum(0).sign() < 0).sum(1)
    flipped = (n_pairs > 0) & (n_reversed >= MIN_REVERSED * n_pairs)
    n_objects = int((n_pairs > 0).sum())
    if n_objects < MIN_OBJECTS or int(flipped.sum()) < max(MIN_FLIPPED, MIN_FLIPPED_FRACTION * n_objects):
        return []
    evidence: Evidence = {
        "objects": n_objects,
        "with_left_and_right_exchanged": int(flipped.sum()),
        "the_first_of_them_in_image": image_indices[int(flipped.nonzero()[0, 0])],
        "pairs_of_key_points": len(pairs),
    }
    cause = (
        "their left key-points are to the right of the right ones, unlike in most objects: left and right were "
        "confused, or images were mirrored without exchanging them (unless these objects are seen from behind)"
    )
    fix = "exchange left and right in these annotations; if images are mirrored, list the pairs in augment.swaps"
    return [Finding(NAME, "train", evidence, cause, fix)]


NAME = "flipped-points"
CHECK = Check(NAME, find, finds_faults=True)
