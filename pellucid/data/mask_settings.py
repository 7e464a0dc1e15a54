"""How masks are read where that is not recognized from their files: settings of a recipe's [data], or of a caller."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

from pellucid.base.settings.checks import check

MaskKind = Literal["auto", "values", "colours"]
Targets = Literal["auto", "objects", "masks"]


@dataclass(frozen=True, kw_only=True)
class MaskSettings:
    """What is stated about masks; everything else is recognized.

    targets: what is read from data with annotated objects and masks; "auto" for objects, "masks" also for masks beside
    their images in class folders. mask_folders: the names of the folders of images and of masks, such as
    ["photos", "truth"]. mask_ending: the end of the names of masks, such as "_seg" for NAME_seg.png beside NAME.jpg.
    mask_kind: whether the pixels of masks are values or colours. mask_classes: lines as in classes.txt, such as
    "255: cell" or "128,0,0: cell". mask_ignored: values or colours without a class, such as "254" or "0,0,0".
    mask_nearest: read other values and colours as the nearest of the classes, also in JPEG files.
    """

    targets: Targets = "auto"
    mask_folders: tuple[str, ...] = ()
    mask_ending: str = ""
    mask_kind: MaskKind = "auto"
    mask_classes: tuple[str, ...] = ()
    mask_ignored: tuple[str | int, ...] = ()
    mask_nearest: bool = False

    def __post_init__(self) -> None:
        """Raise PellucidError unless no folders or two are named."""
        check(
            len(self.mask_folders) in (0, 2), "data.mask_folders", "the folders of images and masks", self.mask_folders
        )


_settings: ContextVar[MaskSettings] = ContextVar("mask_settings", default=MaskSettings())  # noqa: B039  # frozen


@contextmanager
def reading_masks(settings: MaskSettings | None) -> Iterator[None]:
    """Return a context in which masks are read by these settings; None changes nothing."""
    token = _settings.set(_settings.get() if settings is None else settings)
    try:
        yield
    finally:
        _settings.reset(token)


def mask_settings() -> MaskSettings:
    """Return the settings inside `reading_masks`, by default those that recognize everything."""
    return _settings.get()
