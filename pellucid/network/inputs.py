"""Do inputs have the shape that a network takes, and if not, what to do about it."""

from collections.abc import Sequence

from pellucid.errors import PellucidError


def check_inputs(shape: Sequence[int], wanted: Sequence[int | None], what: str) -> None:
    """Require inputs of `shape` (N, ...) for a network that takes `wanted`, without the batch axis; None is any size.

    Raises PellucidError, which calls the inputs `what`, with the call that makes them fit where there is one.
    """
    shape, wanted = tuple(shape), tuple(wanted)
    free = wanted
    for given in (shape, shape[1:]):  # of one input, of several: sizes that are free fit
        if len(given) == len(wanted):
            wanted = tuple(size if any_size is None else any_size for size, any_size in zip(given, free, strict=True))
    if shape[1:] == wanted:
        return
    alone = _single(wanted).get(shape)
    if alone:
        raise PellucidError(f"{what} is one input of shape {shape} without the batch axis; give {alone.format(x=what)}")
    raise PellucidError(
        f"{what} holds inputs of shape {shape[1:]}, but the network takes {free}; {_remedy(shape, wanted, what)}"
    )


def _single(wanted: tuple[int | None, ...]) -> dict[tuple[int | None, ...], str]:
    """Return the shapes of one input that has no batch axis, and what makes it a batch."""
    found = {wanted: "{x}[None]"}
    if len(wanted) == 3:
        last = (*wanted[1:], wanted[0])
        found.setdefault(last, "{x}.transpose(2, 0, 1)[None] of an array, {x}.permute(2, 0, 1)[None] of a tensor")
        if wanted[0] == 1:
            found[wanted[1:]] = "{x}[None, None]"
    return found


def _remedy(shape: tuple[int, ...], wanted: tuple[int | None, ...], what: str) -> str:
    if len(wanted) == 3 and shape[1:] == (*wanted[1:], wanted[0]):
        return (
            f"the channels come last there; give {what}.transpose(0, 3, 1, 2) of an array, "
            f"{what}.permute(0, 3, 1, 2) of a tensor"
        )
    if len(wanted) == 3 and wanted[0] == 1 and shape[1:] == wanted[1:]:
        return f"add the axis of channels: {what}[:, None]"
    return "reshape or resize them"
