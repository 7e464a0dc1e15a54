"""Reasons to reject a file, and their conversion to error messages of one line."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pellucid.base.errors import PellucidError
from pellucid.base.limits import LIMITS_HINT, scaled_limit

DOWNLOAD_AGAIN = "download or export it again"
_MAX_REASON = 160  # characters of a library's message


class FileFault(Exception):  # noqa: N818 - it becomes an error with the file's name
    """A reason to reject a file: `reason` continues a sentence that begins with the file's name; `advice`: a remedy."""

    def __init__(self, reason: str, advice: str = DOWNLOAD_AGAIN) -> None:
        super().__init__(f"{reason}; {advice}")


def check_count(kind: str, count: int, limit: int) -> None:
    """Raise FileFault if a file has more of a kind than `limit`, times PELLUCID_LIMITS."""
    if count > scaled_limit(limit):
        raise FileFault(f"has {count:,} {kind}, above the limit of {scaled_limit(limit):,}", LIMITS_HINT)


@contextmanager
def file_errors(path: Path, kind: str, damage: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Context in which a FileFault, an OSError and the exceptions in `damage` become a PellucidError of one line.

    kind: the format of the file, as in "is a damaged {kind}".
    """
    try:
        yield
    except FileFault as fault:
        raise PellucidError(f"{path} {fault}") from fault
    except damage as error:
        message = str(error).partition("Exception raised from")[0]  # without PyTorch's C++ stack trace
        reason = quoted(" ".join(message.split()) or type(error).__name__, _MAX_REASON)
        raise PellucidError(f"{path} is a damaged {kind} ({reason}); {DOWNLOAD_AGAIN}") from error
    except OSError as error:
        reason = error.strerror or quoted(" ".join(str(error).split()) or type(error).__name__, _MAX_REASON)
        if error.errno in (None, errno.EINVAL):  # raised for an impossible position in the file
            raise PellucidError(f"{path} is a damaged {kind} ({reason}); {DOWNLOAD_AGAIN}") from error
        raise PellucidError(f"{path} cannot be read ({reason}); check its path and permissions") from error


@contextmanager
def naming_file(path: Path | None, kind: str, damage: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Context of `file_errors` in which messages of other PellucidErrors, too, begin with the path; None: no file."""
    if path is None:
        yield
        return
    try:
        with file_errors(path, kind, damage):
            yield
    except PellucidError as error:
        message = str(error)
        if str(path) not in message:
            error.args = (f"{path}: {message.removeprefix('open: ')}",)
        raise


def quoted(text: str, limit: int = 80) -> str:
    """Return text from a file as printable ASCII of at most about `limit` characters."""
    return ascii(text[:limit])[1:-1] + ("..." if len(text) > limit else "")
