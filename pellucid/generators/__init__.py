"""Generators: objectives that make images, of noise or of other images."""

from collections.abc import Callable

from pellucid.objective import Objective

GENERATORS: dict[str, Callable[..., Objective]] = {}
OWN: tuple[type[Objective], ...] = ()  # the classes that a weights file may name

__all__ = ["GENERATORS", "OWN"]
