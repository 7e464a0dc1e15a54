"""The sum of the gradients of all shards, exchanged in buckets, as far as possible while the backward pass goes on."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.layers.base import Layer, Params
from pellucid.nested import flatten, leaves
from pellucid.training.distributed import Awaited, Processes, dealt

MEGABYTE = 1 << 20
BUCKET_MB = 4.0


class PartialSum(NamedTuple):
    """The sum of the shards from position · 2^level, 2^level of them or as many as there are."""

    level: int
    position: int
    value: Tensor


def append(nodes: list[PartialSum], node: PartialSum) -> None:
    """Append a node to those of the shards before it; the sum of two siblings takes their place."""
    while nodes and node.position % 2 and nodes[-1][:2] == (node.level, node.position - 1):
        node = PartialSum(node.level + 1, node.position // 2, nodes.pop().value.add_(node.value))
    nodes.append(node)


def total(nodes: list[PartialSum]) -> Tensor:
    """Return the sum of all shards, from the nodes of all of them."""
    while len(nodes) > 1:
        right = nodes.pop()
        nodes[-1].value.add_(right.value)
    return nodes[0].value


class Layout:
    """Where each of several tensors stands in one flat tensor, whose length is a multiple of `count`."""

    def __init__(self, tensors: Mapping[str, Tensor], count: int) -> None:
        self.forms = {path: torch.empty_like(tensor, device="meta") for path, tensor in tensors.items()}
        self.device = next(iter(tensors.values())).device  # there is at least one
        wide = any(tensor.dtype is torch.float64 for tensor in tensors.values())
        self.dtype = torch.float64 if wide else torch.float32
        self.used = sum(tensor.numel() for tensor in tensors.values())
        self.size = -(-self.used // count) * count

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """Return views of a flat tensor with the shapes and the memory formats of the tensors."""
        views_by_path: dict[str, Tensor] = {}
        start = 0
        for path, form in self.forms.items():
            views_by_path[path] = flat.as_strided(form.shape, form.stride(), start)
            start += form.numel()
        return views_by_path


class Filling:
    """One flat tensor of a shard that is being filled; `missing`: the number of tensors that it still lacks."""

    def __init__(self, layout: Layout) -> None:
        self.flat = torch.empty(layout.size, dtype=layout.dtype, device=layout.device)
        self.flat[layout.used :] = 0.0
        self.views = layout.views(self.flat)
        self.missing = len(self.views)


class Handed(NamedTuple):
    """A gradient that a watch was handed: the path of its layer, the number of the call, and the gradient."""

    layer: str
    call: int
    grad: Tensor


class Buckets:
    """The gradients of a turn, and the changes of buffers, in groups of about `size` bytes.

    handed: the gradients that a watch was handed during the backward pass which returned `grads`, with the paths of the
    layers; their groups are in this order. Gradients that were not handed over as they are, and those of layers with
    several calls, which may be added up later, are in the last groups.
    """

    def __init__(
        self, grads: Mapping[str, Tensor], handed: Sequence[Handed], buffers: Sequence[Tensor], size: float, count: int
    ) -> None:
        paths = {id(tensor): path for path, tensor in grads.items()}
        if len(paths) < len(grads):
            handed = []
        calls = Counter(path for path, _ in {(node.layer, node.call) for node in handed})
        # the path of each handed gradient; None for one that is to be taken from the result
        self.order = [paths.get(id(node.grad)) if calls[node.layer] == 1 else None for node in handed]
        self.changes = [f"[buffer {k}]" for k in range(len(buffers))]
        early = {path: grads[path] for path in self.order if path is not None}
        tensors = {**early, **{path: grads[path] for path in grads if path not in early}}
        parts: list[dict[str, Tensor]] = [{}]
        filled = 0
        for path, tensor in [*tensors.items(), *zip(self.changes, buffers, strict=True)]:
            if filled >= size:
                parts.append({})
                filled = 0
            parts[-1][path] = tensor
            filled += tensor.numel() * tensor.element_size()
        self.layouts = [Layout(part, count) for part in parts if part]
        self.bucket = {path: k for k, part in enumerate(parts) for path in part}


class Reducer:
    """The sums of the gradients of all shards: for each turn, `turn`, `begin` and `add` for each shard, and `summed`.

    exact: whether they are added in a fixed binary tree, whoever computed them. size: of a bucket in bytes. buffers:
    the tensors that each shard's forward pass changes, from the same values.

    If a watch in the networks hands the gradients over, each bucket is exchanged as soon as this process's last shard
    has filled it, while the backward pass goes on; not in the first step, which shows the order. The sum of each value
    is the same for any buckets.
    """

    def __init__(
        self, processes: Processes, shards: int, buffers: Sequence[Tensor], exact: bool = True, size: float = math.inf
    ) -> None:
        self.processes, self.shards, self.buffers, self.size = processes, shards, buffers, size
        count = processes.count
        self.nodes_of = [_nodes(dealt(rank, count, shards)) for rank in range(count)]
        # the sum of two numbers does not depend on their order
        self.adds = not exact or (count == 2 and all(len(nodes) == 1 for nodes in self.nodes_of))
        self.last = dealt(processes.rank, count, shards)[-1]
        self._known: dict[tuple[str, ...], Buckets] = {}
        self._next: Buckets | None = None  # those of a network whose watch hands its gradients over
        self.turn()

    def turn(self) -> None:
        """Begin a turn of all shards."""
        self.before = [tensor.clone() for tensor in self.buffers]
        self._early = self._buckets = self._next
        self._nodes: dict[int, list[PartialSum]] = {}  # by bucket
        self._begun: list[Callable[[], Awaited]] = []

    def begin(self, shard: int, weight: float) -> None:
        """Begin a shard, whose gradients are multiplied by `weight`, with the buffers from before the turn."""
        self._shard, self._weight = shard, weight
        self._fillings: dict[int, Filling] = {}  # by bucket
        self._handed: list[Handed] = []
        self._calls = 0
        for buffer, old in zip(self.buffers, self.before, strict=True):
            buffer.copy_(old)

    def watch(self, path: str, layer: Layer, dy: Any, dx: Any, dparams: Params) -> None:
        """Take the gradients of a layer during the backward pass, see `pellucid.sweep.BackwardWatch`."""
        self._calls += 1
        for grad in leaves(dparams):
            order = () if self._early is None else self._early.order
            expected_path = order[len(self._handed)] if len(self._handed) < len(order) else None
            self._handed.append(Handed(path, self._calls, grad))
            if self._early is not None and expected_path is not None:
                self._put(self._early, expected_path, grad)

    def add(self, dparams: Params) -> None:
        """End a shard: take those of its gradients that were not handed over, and the changes of its buffers."""
        grads = flatten(dparams)
        buckets = self._known.get(tuple(grads)) or self._learned(grads)
        self._buckets = self._buckets or buckets
        order = [] if self._early is None else self._early.order
        early = {path: node.grad for path, node in zip(order, self._handed, strict=False) if path is not None}
        if buckets is not self._buckets or any(grads[path] is not grad for path, grad in early.items()):
            raise PellucidError("shards: the objective returned gradients of other parameters for another shard")
        for path, grad in grads.items():
            if path not in early:
                self._put(buckets, path, grad)
        for path, buffer, old in zip(buckets.changes, self.buffers, self.before, strict=True):
            self._put(buckets, path, buffer - old, 1.0)

    def skip(self) -> None:
        """End a shard without gradients, whose loss is not finite, so that no other process waits for its buckets."""
        if self._early is not None:
            for bucket in range(len(self._early.layouts)):
                if self._filling(self._early, bucket).missing:
                    self._full(self._early, bucket)

    def summed(self, divisor: float) -> dict[str, Tensor]:
        """Return the sums of the gradients of all shards by path, divided by a number; set the buffers to their means.

        Here, a process waits for those that have not filled all their buckets.
        """
        assert self._buckets is not None  # each process has a shard
        for bucket in range(len(self._begun), len(self._buckets.layouts)):
            self._begun.append(self._exchange(self._nodes[bucket]))
        flats = self.ended()
        sums: dict[str, Tensor] = {}
        for layout, flat in zip(self._buckets.layouts, flats, strict=True):
            sums |= layout.views(flat)
        for path, buffer, old in zip(self._buckets.changes, self.buffers, self.before, strict=True):
            torch.add(old, sums[path], alpha=1 / self.shards, out=buffer)
        for flat in flats:
            flat.div_(divisor)
        self._handed, self._fillings, self._nodes, self._begun = [], {}, {}, []
        return sums

    def ended(self) -> list[Tensor]:
        """Wait for the exchanges that were begun; return their sums."""
        second = [exchange() for exchange in self._begun]
        return [awaited() for awaited in second]

    def _learned(self, grads: Mapping[str, Tensor]) -> Buckets:
        """Return the buckets for gradients of these paths, which are the same in every step."""
        buckets = self._known[tuple(grads)] = Buckets(
            grads, self._handed, self.buffers, self.size, self.processes.count
        )
        if buckets.order:
            self._next = buckets
        return buckets

    def _filling(self, buckets: Buckets, bucket: int) -> Filling:
        if bucket not in self._fillings:
            self._fillings[bucket] = Filling(buckets.layouts[bucket])
        return self._fillings[bucket]

    def _put(self, buckets: Buckets, path: str, values: Tensor, weight: float | None = None) -> None:
        """Put values, times a weight, by default that of the shard, into their bucket."""
        bucket = buckets.bucket[path]
        filling = self._filling(buckets, bucket)
        torch.mul(values, self._weight if weight is None else weight, out=filling.views[path])
        filling.missing -= 1
        if not filling.missing:
            self._full(buckets, bucket)

    def _full(self, buckets: Buckets, bucket: int) -> None:
        """Add a bucket to those of the shards before; exchange it early, if it is one of the last shard."""
        nodes = self._nodes.setdefault(bucket, [])
        append(nodes, PartialSum(0, self._shard, self._fillings[bucket].flat))
        if buckets is self._early and self._shard == self.last:
            self._begun.append(self._exchange(nodes))

    def _exchange(self, nodes: list[PartialSum]) -> Callable[[], Awaited]:
        """Begin to add the nodes of all processes; what is returned begins the second half, and what that does waits.

        In the order of the tree, each process adds one part of the values, which all are then sent.
        """
        if self.processes.count == 1:
            sum_here = total(nodes)
            return lambda: lambda: sum_here
        if self.adds:
            added = self.processes.adding(total(nodes))
            return lambda: added
        values = [node.value for node in nodes]
        sent = values[0] if len(values) == 1 else torch.stack(values)  # the values of a single node are not copied
        counts = [len(nodes_of_shard) for nodes_of_shard in self.nodes_of]
        dealt_out = self.processes.dealing(sent.view(len(nodes), self.processes.count, -1), counts)

        def gather() -> Awaited:
            every: list[PartialSum] = []
            all_nodes = (node for nodes_of_shard in self.nodes_of for node in nodes_of_shard)
            for (level, position), value in zip(all_nodes, dealt_out(), strict=True):
                append(every, PartialSum(level, position, value))
            rows = self.processes.gathering(total(every))
            return lambda: rows().view(-1)

        return gather


def _nodes(shards: range) -> list[tuple[int, int]]:
    """Return level and position of the nodes to which these shards are added in one process."""
    nodes: list[PartialSum] = []
    for shard in shards:
        append(nodes, PartialSum(0, shard, torch.zeros(0)))
    return [(level, position) for level, position, _ in nodes]
