"""What is shown of a colorizer for a picture: the colorized picture, with the strength and hints of the user."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pellucid.ops.colour import rgb_to_lab
from pellucid.task.look import NO_VALUES, Hint, ImageLayer, Look, LookControl, MapLayer, PictureLayer, Shown
from pellucid.task.score_to_explain import Area, ScoreToExplain
from pellucid.tasks.colorize.colorizer import MAX_STRENGTH, Colorizer, lightness_of
from pellucid.tasks.colorize.hints import hint_maps
from pellucid.tasks.colorize.why import pixel_to_explain

FOLLOWS = 0.1  # part of the distance to the given colours by which a model that follows hints at least comes nearer
MIN_DISTANCE = 5.0  # in a and b; below it, the prediction has nearly the given colours without hints


class ColorizerLook(Look):
    """The predicted colours of a picture."""

    def __init__(self, task: Any, model: Any) -> None:
        super().__init__(task, model)
        self.colorizer = Colorizer(model)
        self.takes_hints = self.colorizer.takes_hints
        self._hints: tuple[Hint, ...] = ()  # of the colours `_ab`

    @property
    def controls(self) -> Sequence[LookControl]:
        """The factor of the colours."""
        return (LookControl("strength", "Strength", 1.0, high=MAX_STRENGTH, step=0.05),)

    def see(self, picture: Tensor) -> None:
        """Predict the colours without hints."""
        self.read(picture)
        self._lightness = lightness_of(self.image)
        self._ab = self._ab_without_hints = self.colorizer.ab(self._lightness[None])[0]
        self._hints = ()
        self._grey = self.colorizer.painted(self.image, self._lightness, torch.zeros_like(self._ab))

    def shown(self, values: Mapping[str, float] = NO_VALUES, hints: Sequence[Hint] = ()) -> Shown:
        """Return the colorized picture, the grey one, and the components a and b."""
        if tuple(hints) != self._hints:
            self._ab = self.colorizer.ab(self._lightness[None], hints)[0]
            self._hints = tuple(hints)
        self.colorizer.strength = self.value(values, "strength")
        ab = self._ab
        colorized = self.colorizer.painted(self.image, self._lightness, ab)
        layers: list[PictureLayer] = [
            ImageLayer("grey", False, self._grey[:3]),
            ImageLayer("colorized", True, colorized[:3]),
            MapLayer("a, green to red", values=ab[0], group="Colours"),
            MapLayer("b, blue to yellow", values=ab[1], group="Colours"),
        ]
        _, height, width = colorized.shape
        line = f"{width}x{height}, mean chroma {float(ab.norm(dim=0).mean() * self.colorizer.strength):.1f}"
        if hints:
            line += self._effect_of_hints()
        if not self.takes_hints:
            line += (
                "; trained without hints of colours (for a model that takes them: "
                "pellucid train colorize FOLDER objective.hints=true start.weights=)"
            )
        return Shown(line, layers)

    def _effect_of_hints(self) -> str:
        """Return how much nearer the predicted colours at the hints are to the given ones than without hints."""
        rows = [hint.y for hint in self._hints]
        columns = [hint.x for hint in self._hints]
        rgb = torch.tensor([hint.colour for hint in self._hints], dtype=torch.float32).T[:, None] / 255  # (3, 1, n)
        given = rgb_to_lab(rgb)[1:, 0]
        before = float((self._ab_without_hints[:, rows, columns] - given).norm(dim=0).mean())
        after = float((self._ab[:, rows, columns] - given).norm(dim=0).mean())
        nearer = (before - after) / max(before, 1e-6)
        direction = "nearer to" if nearer >= 0 else "farther from"
        places = "the colour at the hint is" if len(rows) == 1 else f"the colours at the {len(rows)} hints are"
        distances = f"from {before:.1f} to {after:.1f} in a and b"
        text = f"; {places} {100 * abs(nearer):.0f} % {direction} what was given ({distances})"
        is_ignored = before >= MIN_DISTANCE and nearer < FOLLOWS
        return f"{text}: this model hardly follows hints" if is_ignored else text

    def ask(self, values: Mapping[str, float], choice: str | None, area: Area | None) -> ScoreToExplain:
        """Return the score that is explained, with the hints."""
        assert self.picture is not None
        x, size = self.input, (self.picture.shape[1], self.picture.shape[2])
        hints = hint_maps(self._hints, size, (x.shape[1], x.shape[2])) if self.takes_hints else None
        score = pixel_to_explain(self.model, x, choice, None if area is None else self.area_in(x, area), hints)
        return score.of_pixels(x.shape[1:], size, area)
