"""Leave out images that are missing or cannot be read, if the user asks for it by the setting data.skip."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from pellucid.base.errors import PellucidError
from pellucid.base.text import note_once, plural

SETTING = "data.skip"
# The share of images that may be left out. A few damaged files of a download do not change a result noticeably; more
# are a fault of the data, such as a missing folder, with which another set would be learned or measured.
MAX_SKIPPED = 0.1
ADVICE = f"{SETTING}=true leaves out up to {100 * MAX_SKIPPED:.0f} % of the images"
_is_skipping: ContextVar[bool] = ContextVar("is_skipping", default=False)


@contextmanager
def skipping(enabled: bool = True) -> Iterator[None]:
    """Return a context in which sources leave out images that are missing or cannot be read; False changes nothing."""
    # a context, since an argument would pass through every task and plugin to where sources are made
    token = _is_skipping.set(enabled or _is_skipping.get())
    try:
        yield
    finally:
        _is_skipping.reset(token)


def skips(on_error: str = "raise") -> bool:
    """Return whether images are left out: with on_error="skip", or inside `skipping`."""
    return on_error == "skip" or _is_skipping.get()


def note_skipped(path: object, *parts: Any) -> None:
    """Inside `skipping`, write a note with the number of images that the parts of a data set left out.

    parts: sources with `skipped`, or None. Raises PellucidError if these are more than MAX_SKIPPED of all images.
    """
    existing_parts = [part for part in parts if part is not None]
    names = [name for part in existing_parts for name in part.skipped]
    note_skipped_names(path, names, len(names) + sum(map(len, existing_parts)))


def note_skipped_names(path: object, names: Sequence[str], total: int) -> None:
    """Do the same as `note_skipped` for the names of the images that are left out, of a total."""
    if not names or not _is_skipping.get():
        return
    text = f"{len(names):,} of {plural(total, 'image')} are missing or cannot be read, such as {names[0]}"
    if len(names) > MAX_SKIPPED * total:
        raise PellucidError(
            f"{path}: {text}; {SETTING} leaves out at most {100 * MAX_SKIPPED:.0f} %, so replace or remove them; "
            "`pellucid data lint` lists them"
        )
    note_once(f"{path}: {text}; they are left out")
