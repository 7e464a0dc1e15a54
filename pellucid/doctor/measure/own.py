"""Whose a layer or loss is."""


def own(part: object) -> bool:
    """Whether a layer or loss is of the user's own, and none of the library's."""
    return not type(part).__module__.startswith("pellucid.")
