"""Runs that were begun when a network's layers had other names."""

from pellucid.combine.sequential import Sequential
from pellucid.config import from_config
from pellucid.errors import DamagedFileError
from pellucid.layers.base import Layer
from pellucid.run.folder import RunFolder
from pellucid.run.weights import read_weights


def as_begun(net: Layer, folder: RunFolder) -> Layer:
    """Return the network of a recipe under the names of its run's own weights: the run was begun with these.

    Both must hold the same layers in the same order, `flatten, dense1, ...` for instance instead of `features.flatten,
    features.dense1, ...`; else, and where no weights can be read, it is `net`, and whoever loads the weights reports
    what is wrong. Raises PellucidError for a file that describes no network.
    """
    for file in (folder.last, folder.previous, folder.best):
        if file.is_file():
            try:
                _, about = read_weights(file)
            except DamagedFileError:
                continue
            begun = from_config(about.get("network"))
            return begun if _in_order(begun) == _in_order(net) else net
    return net


def _in_order(net: Layer) -> list[Layer]:
    if type(net) is Sequential:
        return [layer for child in net.layers.values() for layer in _in_order(child)]
    return [net]
