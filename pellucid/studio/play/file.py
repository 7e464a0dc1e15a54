"""Recorded trainings of the playground as one HTML file to hand out: the view Playground with a slider over epochs."""

import json
from typing import Any

from pellucid.model import Model
from pellucid.studio.embedded import document, key_of
from pellucid.studio.messages import Reply, pack
from pellucid.studio.play import PLAY
from pellucid.studio.play.problems import INPUTS
from pellucid.studio.play.session import LearnSteps, PlaySession, ReadCode, ReadSurface
from pellucid.studio.play.settings import OpenPlayground
from pellucid.studio.view import Library

SIDE = 20  # of the grid over the plane: half of the studio's, which keeps the file small
EPOCHS = (0, 1, 2, 3, 5, 8, 12, 18, 27, 40, 60, 90, 150)  # at which a training is recorded
_NOISY_MOONS: dict[str, Any] = {
    "problem": "moons", "noise": 1.0, "count": 100, "inputs": tuple(INPUTS), "hidden": (8, 8), "optimizer": "adam",
    "rate": 0.03,
}  # fmt: skip
TRAININGS: dict[str, dict[str, Any]] = {  # settings by the name that the page shows
    "circles": {},
    "circles, no hidden layer": {"hidden": ()},
    "xor": {"problem": "xor", "hidden": (4,), "optimizer": "adam", "rate": 0.03},
    "moons, overfitted": _NOISY_MOONS,
    "moons, with L2": {**_NOISY_MOONS, "l2": 3.0},
    "hills, values": {"problem": "hills", "hidden": (6,), "optimizer": "adam", "rate": 0.03},
    "digits": {"problem": "digits", "noise": 0.0, "count": 400, "hidden": (8,), "rate": 0.3},
}


def playground_file() -> str:
    """Return an HTML document of all TRAININGS, which needs no other file."""
    answers = dict[str, bytes]()
    for number, settings in enumerate(TRAININGS.values()):
        answers |= _recorded(number, OpenPlayground(**settings))
    state = {"file": "1", "trainings": json.dumps([*TRAININGS.items()]), "last": str(len(EPOCHS) - 1)}
    return document(PLAY, state, answers, module="file")


def _recorded(number: int, settings: OpenPlayground) -> dict[str, bytes]:
    """Return the answers for a training at each of EPOCHS, by "number.index kind" as `file.js` asks."""
    session = PlaySession(Library((), Model.load), SIDE)
    state = session.open(settings)
    batches = state.fields["batches"]
    answers = dict[str, bytes]()
    for index, epoch in enumerate(EPOCHS):
        for _ in range(epoch - EPOCHS[index - 1] if index else 0):
            state = session.learn(LearnSteps(batches))
        replies: dict[str, Reply] = {
            "play.learn" if index else "play.open": state,
            "play.surface": session.surface(ReadSurface()),
            "play.code": session.code(ReadCode()),
        }
        for kind, reply in replies.items():
            answers[key_of(f"{number}.{index} {kind}", {})] = pack(kind, 0, reply.fields, reply.tensors)
    return answers
