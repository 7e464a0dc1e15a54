"""The average precision of pycocotools."""

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np


def coco_figures(
    truth: dict[str, Any], results: list[dict[str, Any]], kind: str, sigmas: Sequence[float] = ()
) -> list[float]:
    """Return the AP and the AP at 0.5 of results for the content of a COCO file.

    kind: "bbox" or "keypoints". sigmas: the constants of key-points.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = truth
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), kind)
        if sigmas:
            evaluation.params.kpt_oks_sigmas = np.array(sigmas)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[:2].tolist()
