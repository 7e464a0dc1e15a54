"""The DataLoaders of a training in PyTorch, as streams of batches."""

import contextlib
import copy
import random
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, combinations, islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from pellucid.base.errors import PellucidError
from pellucid.base.text import shown
from pellucid.explain.inputs import SplitInputs, join
from pellucid.layers.base import Mode
from pellucid.opening.graph import INTEGERS
from pellucid.opening.torch_training.targets import NestedTargets, kind_of

BatchFunction = Callable[[Any], Any]  # an item of a loader -> (inputs, targets); inputs may be a tuple of tensors
END_OF_LOADER = object()  # after the last item of a loader
MAX_REDRAWN = 200  # training examples that are read twice
MAX_SETTINGS = 8  # numbers or functions in a setting of a data set; a longer list may be its data
MAX_COMPARED = 8  # examples whose plain version must not be a validation example
MAX_REREAD, MAX_REREAD_VALUES = 1_000, 2**25  # validation examples that are read anew, and their values
N_READINGS = 4
MAX_LEFT_OUT = 4  # functions of a list that may all change examples at random


class LoaderBatches:
    """The batches of a DataLoader, or of any iterable that can be read again.

    convert: a function from an item of the loader to (inputs, targets), or None. n_batches: the number of batches of
    an epoch, None if unknown. n_inputs: how many inputs the network must be given; items (x1, x2,
    y) are of two inputs only for a network of two. shapes: those of several inputs (x1, x2), as items ((x1, x2), y) or
    (x1, x2, y) have them, which are joined to one, (N, D); None for one input. nested_targets: the structure of targets
    that are not one tensor, which are joined to one. index_dtype: the floats to which indices are converted, None to
    yield whole numbers as they are. Raises PellucidError for items that are not batches, and for inputs that the
    network cannot take as they are.
    """

    def __init__(self, loader: Any, convert: BatchFunction | None, n_inputs: int = 1) -> None:
        if isinstance(loader, Iterator) or not isinstance(loader, Iterable):
            raise PellucidError(f"from_torch: a loader must be iterable in every epoch, not {shown(loader)}")
        self.loader: Any = loader
        self.convert = convert
        self.n_inputs = n_inputs
        self.shapes: tuple[tuple[int, ...], ...] | None = None
        self.nested_targets: NestedTargets | None = None
        self.index_dtype: torch.dtype | None = None
        try:
            self.n_batches: int | None = len(self.loader)
        except TypeError:  # of an iterable, or of a DataLoader of one
            self.n_batches = None
        with restoring_random_states([self]):
            first_batch = next(self.epoch(), None)
        if first_batch is None:
            raise PellucidError("from_torch: a loader has no batch; give at least one")
        self.first_batch = first_batch
        x = first_batch[0]
        if x.is_floating_point() and not bool(x.isfinite().all()):
            raise PellucidError("from_torch: the first inputs of a loader contain NaN or infinity; find their origin")
        if not x.is_floating_point() and x.dtype not in INTEGERS:
            raise unconverted_error(x.dtype)

    def epochs(self) -> Callable[[], Iterator[tuple[Tensor, Tensor]]]:
        """Return the function of the batches of each epoch that `Model.fit` takes.

        By its first call, `fit` looks at the first batch: that is the known one, as the loader and `convert` may draw
        random numbers.
        """
        known_batches = [self.first_batch]

        def batches() -> Iterator[tuple[Tensor, Tensor]]:
            return iter([known_batches.pop()]) if known_batches else self.epoch()

        return batches

    def epoch(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of an epoch.

        The end of the loader is found before its last batch is yielded: whoever takes as many batches as there are
        would otherwise leave out the random numbers that a sampler draws at its end.
        """
        items = iter(self.loader)
        item = next(items, END_OF_LOADER)
        while item is not END_OF_LOADER:
            next_item = next(items, END_OF_LOADER)
            yield self._batch(item)
            item = next_item

    def redrawn(self, validation: "LoaderBatches | None") -> dict[str, Any]:
        """Return options of the doctor for training examples that change from draw to draw; {} if none do.

        redrawn: two draws of the same inputs. plain: a function that yields all batches without random changes, read as
        the validation loader reads its own, if that can be seen from its data set. redrawn_pairs: two draws of inputs
        and two of their targets, instead of these, if the targets change too.
        """
        loader, batches = self.loader, self._index_batches()
        if batches is None:
            return {}
        indices = [*dict.fromkeys(chain.from_iterable(batches))][:MAX_REDRAWN]
        (x, y), (x_again, y_again) = (self._first(loader.dataset, indices, loader.collate_fn) for _ in range(2))
        if x.shape != x_again.shape or y.shape != y_again.shape:
            return {}
        if not torch.equal(y, y_again):
            return {"redrawn_pairs": ((x, x_again), (y, y_again))}
        if torch.equal(x, x_again):
            return {}
        options: dict[str, Any] = {"redrawn": (x, x_again)}
        if validation is None:
            return options
        other = validation.loader
        with contextlib.suppress(Exception):  # code that is given the settings of another data set may raise any error
            dataset, collate = with_settings_of(loader.dataset, other.dataset), other.collate_fn
            first, second = (self._first(dataset, indices, collate) for _ in range(2))
            compared = [*range(min(MAX_COMPARED, len(dataset), len(other.dataset)))]
            pair = [self._first(one, compared, collate)[0] for one in (dataset, other.dataset)]
            is_other = pair[0].shape != pair[1].shape or not bool((pair[0] == pair[1]).flatten(1).all(1).any())
            if is_other and torch.equal(first[0], second[0]) and torch.equal(first[1], y):
                options["plain"] = lambda: self._read(dataset, batches, collate)
        return options

    def redrawn_validation(self) -> dict[str, Any]:
        """Return options of the doctor for validation examples that change from reading to reading; {} if none do.

        redrawn_validation: several readings of the same examples, whose targets do not change. plain_validation: these
        without the random changes, if a setting of the data set ends them.
        """
        with contextlib.suppress(Exception):  # the examples may not fit into one batch
            return self._redrawn_validation()
        return {}

    def _redrawn_validation(self) -> dict[str, Any]:
        loader, n_values = self.loader, self.first_batch[0][0].numel()
        n = min(MAX_REREAD, MAX_REREAD_VALUES // n_values + 1)
        indices = [*chain.from_iterable(self._index_batches() or ())][:n]
        is_drawn_anew = len({*indices}) < len(indices)
        if not indices or is_drawn_anew or not self._changes(loader.dataset, indices[:MAX_COMPARED]):
            return {}
        readings = [self._first(loader.dataset, indices, loader.collate_fn) for _ in range(N_READINGS)]
        x, y = readings[0]
        if not all(again.shape == x.shape and torch.equal(y_again, y) for again, y_again in readings):
            return {}
        options: dict[str, Any] = {"redrawn_validation": readings}
        for dataset in with_one_setting_off(loader.dataset):
            with contextlib.suppress(Exception):  # code whose settings are changed may raise any error
                if self._changes(dataset, indices[:MAX_COMPARED]):
                    continue
                plain_x, plain_y = self._first(dataset, indices, loader.collate_fn)
                has_form = plain_x.shape == x.shape and plain_x.dtype is x.dtype and torch.equal(plain_y, y)
                if has_form and not self._changes(dataset, indices):
                    return {**options, "plain_validation": (plain_x, plain_y)}
        return options

    def _index_batches(self) -> list[list[int]] | None:
        """Return the indices of the examples of each batch of an epoch; None for a loader that has none."""
        loader = self.loader
        if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset) or not self.n_batches:
            return None
        return [*islice(loader.batch_sampler or (), self.n_batches)]

    def _changes(self, dataset: Any, indices: list[int]) -> bool:
        """Return whether two readings of these examples of a data set differ."""
        first, second = (self._first(dataset, indices, self.loader.collate_fn) for _ in range(2))
        return not all(torch.equal(one, again) for one, again in zip(first, second, strict=True))

    def _first(self, dataset: Any, indices: list[int], collate: Any) -> tuple[Tensor, Tensor]:
        return next(self._read(dataset, [indices], collate))

    def _read(self, dataset: Any, batches: Iterable[list[int]], collate: Any) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches of the examples at these indices of a data set."""
        return map(self._batch, DataLoader(dataset, batch_sampler=batches, collate_fn=collate))

    def _batch(self, item: Any) -> tuple[Tensor, Tensor]:
        pair: Any = item if self.convert is None else self.convert(item)
        if isinstance(pair, tuple | list) and len(pair) == self.n_inputs + 1 > 2:
            pair = pair[:-1], pair[-1]
        elif isinstance(pair, tuple | list) and len(pair) == self.n_inputs > 1 and isinstance(pair[0], Tensor):
            raise PellucidError(
                f"from_torch: the network has {self.n_inputs} inputs, and the loader yields {kind_of(pair)}, so no "
                "targets; for a loss of the outputs alone give batch=lambda item: (item, None)"
            )
        if isinstance(pair, tuple | list) and len(pair) == 2 and isinstance(pair[0], tuple | list):
            pair = self._join_inputs(pair[0]), pair[1]
        if not isinstance(pair, tuple | list) or len(pair) != 2 or not isinstance(pair[0], Tensor):
            raise PellucidError(
                f"from_torch: the loader yields {kind_of(pair)}, not (inputs, targets); give a function that returns "
                "them: batch=lambda item: (item['image'], item['label'])"
            )
        return self._as_floats(pair[0]), self._join_targets(pair[1], len(pair[0]))

    def _join_targets(self, targets: Any, n_examples: int) -> Tensor:
        if isinstance(targets, Tensor) and self.nested_targets is None:
            return targets
        if self.nested_targets is None:
            self.nested_targets = NestedTargets.of(targets, n_examples)
        return self.nested_targets.join(targets, n_examples)

    def convert_indices(self, dtype: torch.dtype) -> None:
        """Convert indices to floats in all batches, as the layers take them; raise PellucidError for inexact ones."""
        self.index_dtype = dtype
        self.first_batch = self._as_floats(self.first_batch[0]), self.first_batch[1]

    def _as_floats(self, x: Tensor) -> Tensor:
        if self.index_dtype is None or x.is_floating_point():
            return x
        floats = x.to(self.index_dtype)
        if not torch.equal(floats.to(x.dtype), x):
            raise PellucidError(
                f"from_torch: inputs up to {int(x.max())} are not exact in {self.index_dtype}; use float64"
            )
        return floats

    def _join_inputs(self, inputs: Any) -> Any:
        """Return several inputs as one, (N, D); raises PellucidError unless they are numbers of one dtype."""
        dtypes = {x.dtype if isinstance(x, Tensor) else type(x) for x in inputs}
        if len(dtypes) != 1 or not all(isinstance(x, Tensor) and x.is_floating_point() for x in inputs):
            raise PellucidError(
                f"from_torch: the loader yields {len(inputs)} inputs of {', '.join(sorted(map(str, dtypes)))}; several "
                "inputs must be tensors of one dtype of floats: give batch=lambda item: ((item[0], item[1].float()), y)"
            )
        shapes = tuple(tuple(x.shape[1:]) for x in inputs)
        if self.shapes not in (None, shapes):
            raise PellucidError(f"from_torch: the loader yields inputs of shapes {shapes} after {self.shapes}")
        self.shapes = shapes
        return join(tuple(inputs))


def with_settings_of(dataset: Any, other: Any) -> Any:
    """Return a copy of a data set with the settings of another, such as its transform, and with its own examples.

    Settings are functions, numbers, None, and short lists of these. Of a data set that wraps one of the other's class,
    such as by an augmentation, it is the one inside. Raises StopIteration for other classes.
    """
    if type(dataset) is not type(other):
        return with_settings_of(next(value for value in vars(dataset).values() if type(value) is type(other)), other)
    changed = copy.copy(dataset)
    for name, value in vars(dataset).items():
        other_value = vars(other).get(name, value)
        if isinstance(value, Dataset):
            setattr(changed, name, with_settings_of(value, other_value))
        elif _is_setting(value) and _is_setting(other_value):
            setattr(changed, name, other_value)
    return changed


def with_one_setting_off(dataset: Any) -> Iterator[Any]:
    """Yield copies of a data set with one of its settings off, and the data sets that it wraps.

    A function returns its first argument or is None, a flag is False, a number is 0, and of a list of functions, such
    as the transforms of torchvision's Compose, a few are left out.
    """
    for name, value in getattr(dataset, "__dict__", {}).items():
        if isinstance(value, Dataset):
            yield value
            versions: Iterable[Any] = with_one_setting_off(value)
        else:
            versions = _versions_off(value)
        for version in versions:
            changed = copy.copy(dataset)
            vars(changed)[name] = version
            yield changed


def _versions_off(value: Any) -> Iterator[Any]:
    """Yield versions of a setting in which it has less effect or none, or nothing for data."""
    functions = getattr(value, "transforms", value)
    if isinstance(functions, list | tuple) and functions and all(map(callable, functions)):
        for n_left in range(len(functions) - 1, max(len(functions) - 1 - MAX_LEFT_OUT, -1), -1):
            for remaining in combinations(functions[:MAX_SETTINGS], n_left):
                version: Any = [*remaining]
                if functions is not value:
                    version = copy.copy(value)
                    version.transforms = [*remaining]
                yield version
    if callable(value):
        yield lambda x, *_: x
        yield None
    elif isinstance(value, bool):
        yield False
    elif isinstance(value, int | float):
        yield type(value)(0)


def _is_setting(value: Any) -> bool:
    """Return whether a value of a data set is no data: a text, for example, may be the folder of its files."""
    if isinstance(value, list | tuple):
        return len(value) < MAX_SETTINGS and all(map(_is_setting, value))
    return value is None or isinstance(value, int | float) or callable(value)


def unconverted_error(dtype: torch.dtype) -> PellucidError:
    """Return the error for inputs of this dtype that the network does not take."""
    return PellucidError(
        f"from_torch: the loader yields inputs of {dtype}, which the network does not take as they are; give the "
        "conversion of your loop: batch=lambda item: (item[0].float() / 255, item[1])"
    )


def joined_network(network: nn.Module, shapes: tuple[tuple[int, ...], ...]) -> nn.Module:
    """Return a network with the same modules and parameters that takes its several inputs as one, (N, D)."""
    joined = copy.copy(network)
    split = SplitInputs(shapes)

    def forward(x: Tensor) -> Any:
        return type(network).forward(joined, *split.forward({}, x, Mode())[0])

    joined.forward = forward
    return joined


@contextlib.contextmanager
def restoring_random_states(loaders: Iterable[LoaderBatches | None] = ()) -> Iterator[None]:
    """Restore, after a block, the states of all random generators from which batches are drawn."""
    generators: dict[int, torch.Generator] = {}
    for batches in loaders:
        for loader_or_sampler in () if batches is None else loader_and_samplers(batches.loader):
            # as PyTorch's loaders and samplers keep it
            generator = getattr(loader_or_sampler, "__dict__", {}).get("generator")
            if isinstance(generator, torch.Generator):
                generators[id(generator)] = generator
    states = [(generator, generator.get_state()) for generator in generators.values()]
    torch_state = torch.get_rng_state()
    numpy_state = np.random.get_state()
    python_state = random.getstate()
    try:
        yield
    finally:
        for generator, state in states:
            generator.set_state(state)
        torch.set_rng_state(torch_state)
        np.random.set_state(numpy_state)
        random.setstate(python_state)


def loader_and_samplers(loader: Any) -> list[Any]:
    """Return a loader, its samplers, and theirs, such as the RandomSampler in a BatchSampler."""
    parts = [loader]
    for part in parts:  # grows meanwhile
        for sampler in (getattr(part, "sampler", None), getattr(part, "batch_sampler", None)):
            if sampler is not None and all(sampler is not known for known in parts):
                parts.append(sampler)
    return parts
