"""Functions on the named networks of an objective: their layers, buffers, parameter counts and paths."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from pellucid.base.text import plural
from pellucid.combine.base import buffer_paths, prefix_of, walk
from pellucid.layers.base import Layer, Params
from pellucid.nested import flatten


def named_layers(nets: Mapping[str, Layer]) -> Iterator[tuple[str, Layer]]:
    """Yield (path, layer) for all layers and combinators of several networks."""
    for name, net in nets.items():
        yield from walk(net, name)


def all_buffers(nets: Mapping[str, Layer]) -> set[str]:
    """Return the paths of all buffers (running statistics) of several networks."""
    return {path for name, net in nets.items() for path in buffer_paths(net, name)}


class ParameterCounts(NamedTuple):
    """The number of learned values, frozen ones included, and of values in buffers (running statistics)."""

    parameters: int
    buffers: int

    def __str__(self) -> str:
        """Return "11,689,512 parameters and 9,620 values in buffers", without the buffers if there are none."""
        buffers = f" and {plural(self.buffers, 'value')} in buffers" if self.buffers else ""
        return plural(self.parameters, "parameter") + buffers


def parameter_counts(nets: Mapping[str, Layer], params: Params) -> ParameterCounts:
    """Return the numbers of values in the parameters and in the buffers of several networks."""
    buffers = all_buffers(nets)
    n_values_by_path = {path: tensor.numel() for path, tensor in flatten(params).items()}
    n_in_buffers = sum(count for path, count in n_values_by_path.items() if path in buffers)
    return ParameterCounts(sum(n_values_by_path.values()) - n_in_buffers, n_in_buffers)


def params_of(params: Params, name: str) -> Params:
    """Return the parameters of the network `name`, or all parameters for the name ""."""
    return params[name] if name else params


def paths_below(paths: Iterable[str], name: str) -> set[str]:
    """Return the paths among `paths` that are in the network `name`, without this prefix."""
    prefix = prefix_of(name)
    return {path.removeprefix(prefix) for path in paths if path.startswith(prefix)}
