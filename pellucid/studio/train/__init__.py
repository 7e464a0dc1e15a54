"""The view Train: start a training from a recipe, watch and control it, and analyse its epochs."""

from pathlib import Path

from pellucid.studio.train.session import HANDLERS, TrainSession
from pellucid.studio.view import View

TRAIN = View("train", "Train", Path(__file__).parent / "page", TrainSession, HANDLERS)
