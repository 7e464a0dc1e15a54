"""Recorded trainings of the playground as one HTML file to hand out: the view Playground with a slider over epochs."""

import json
from typing import Any
from urllib.parse import parse_qsl, urlencode

import torch

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check
from pellucid.model import Model
from pellucid.studio.embedded import document, key_of
from pellucid.studio.messages import Reply, pack
from pellucid.studio.play import PLAY
from pellucid.studio.play.problems import INPUTS
from pellucid.studio.play.session import LearnSteps, PlaySession, ReadCode, ReadSurface
from pellucid.studio.play.settings import OpenPlayground
from pellucid.studio.view import Library

SIDE = 20  # of the grid over the plane: half of the studio's, which keeps the file small
MAX_LINK_STEPS = 20_000  # that the studio's page also takes again
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


def playground_file(link: str | None = None) -> str:
    """Return an HTML document of all TRAININGS, or of the one of a copied link, which needs no other file.

    The document opens at the step of the link. Raises PellucidError for a link that the playground could not open.
    """
    answers = dict[str, bytes]()
    state = {"file": "1", "last": str(len(EPOCHS) - 1)}
    if link is None:
        for number, settings in enumerate(TRAININGS.values()):
            answers |= _recorded(number, OpenPlayground(**settings))[0]
        state["trainings"] = json.dumps([*TRAININGS.items()])
    else:
        query = dict(parse_qsl(link.partition(f"#{PLAY.name}")[2].removeprefix("?")))
        steps = _converted("steps", query.pop("steps", "0"), 0)
        check(0 <= steps <= MAX_LINK_STEPS, "steps", f"from 0 to {MAX_LINK_STEPS}", steps)
        answers, places = _recorded(0, _settings(query), steps)
        state |= {"trainings": json.dumps([["from the link", urlencode(query)]]), "last": str(len(places) - 1)}
        state["start"] = str(places.index(steps))
    return document(PLAY, state, answers, module="file")


def _settings(query: dict[str, str]) -> OpenPlayground:
    """Return the settings in the query of an address, as `form.js` writes them."""
    given = dict(TRAININGS["digits"]) if query.get("problem") == "digits" else {}
    defaults = vars(OpenPlayground(**given))
    for name, text in query.items():
        if name not in defaults:
            raise PellucidError(f"the playground has no setting {name!r}; copy its link again")
        given[name] = _converted(name, text, defaults[name])
    return OpenPlayground(**given)


def _converted(name: str, text: str, default: Any) -> Any:
    """Return the value of a setting in an address."""
    try:
        if name == "points":
            return torch.tensor([[*map(float, row.split("_"))] for row in text.split("*")])
        if isinstance(default, tuple):
            words = [word for word in text.split("~") if word]
            return tuple(map(int, words) if name == "hidden" else words)
        return type(default)(text) if isinstance(default, int | float) else text
    except ValueError:
        raise PellucidError(f"{name}={text} in the link is not a number; copy the link again") from None


def _recorded(number: int, settings: OpenPlayground, steps: int = 0) -> tuple[dict[str, bytes], list[int]]:
    """Return the answers for a training at each of EPOCHS and after `steps`, and the steps of these places.

    The keys are "number.index kind", as `file.js` asks.
    """
    session = PlaySession(Library((), Model.load), SIDE)
    state = session.open(settings)
    batches = state.fields["batches"]
    places = sorted({steps, *(epoch * batches for epoch in EPOCHS)})
    answers = dict[str, bytes]()
    for index, place in enumerate(places):
        while (taken := state.fields["step"]) < place:
            state = session.learn(LearnSteps(min(batches - taken % batches, place - taken)))
        replies: dict[str, Reply] = {
            "play.learn" if index else "play.open": state,
            "play.surface": session.surface(ReadSurface()),
            "play.code": session.code(ReadCode()),
        }
        for kind, reply in replies.items():
            answers[key_of(f"{number}.{index} {kind}", {})] = pack(kind, 0, reply.fields, reply.tensors)
    return answers, places
