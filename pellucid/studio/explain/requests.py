"""The requests of the view Explain."""

from dataclasses import dataclass


@dataclass(frozen=True)
class OpenExplain:
    """explain.open: model: one of the names that the server offers; None for the first."""

    model: str | None = None


@dataclass(frozen=True)
class ShowPicture:
    """explain.picture: either a sample or an upload, by its name."""

    sample: str | None = None
    upload: str | None = None


@dataclass(frozen=True)
class AimAt:
    """explain.aim: of: the score to explain, such as a class or a unit; place: top, left, bottom, right in pixels."""

    of: str | None = None
    place: tuple[int, ...] | None = None


@dataclass(frozen=True)
class RunMethod:
    """explain.run, explain.curve: method: the name of a method; for a curve also "random"."""

    method: str


@dataclass(frozen=True)
class ReadRelevance:
    """explain.relevance: the relevance at each layer."""


@dataclass(frozen=True)
class OccludeFrom:
    """explain.occlude: the squares from index `start` on, as many as the time limit allows."""

    start: int


@dataclass(frozen=True)
class ReadFeatureMaps:
    """explain.maps: the feature maps of a layer."""

    path: str


@dataclass(frozen=True)
class ReadTop:
    """explain.top: the pictures that activate a feature map most."""

    path: str
    map: int
