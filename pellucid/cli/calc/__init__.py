"""`pellucid calc`: calculate output sizes, counts, receptive fields, IoU and average precision."""

import argparse

from pellucid.cli.args import Actions

ACTIONS = {
    "conv": "the output size of a convolution, its weights and multiply-adds",
    "params": "the weights, biases and multiply-adds of layers in sequence",
    "receptive-field": "the receptive field after each of several layers",
    "iou": "IoU and mean IoU, from the areas of predictions, ground truth and their intersection",
    "map": "mean average precision (mAP) of scored detections",
}


def parser() -> Actions:
    """Return the parser of this command."""
    return Actions("calc", "Calculate output sizes, counts, receptive fields, IoU and average precision.", ACTIONS)


def handle(args: argparse.Namespace) -> int:
    """Run the action."""
    return args.handle(args)
