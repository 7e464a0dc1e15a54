"""The requests of the view Inspect, and its state for one tab: a model and its forward pass for a picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check, check_known
from pellucid.combine.base import prefix_of
from pellucid.layers import ConvTranspose2d, Flatten
from pellucid.layers.base import Mode, Trait, describe
from pellucid.losses import Quadratic
from pellucid.nested import flatten
from pellucid.network.summary import multiply_adds
from pellucid.studio.messages import Reply
from pellucid.studio.pictures import family_for, sample
from pellucid.sweep import forward
from pellucid.task import task_of
from pellucid.verify import differences, verify
from pellucid.verify.probe import tensors
from pellucid.verify.table import TOLERANCE

if TYPE_CHECKING:
    from pellucid.layers.base import Layer
    from pellucid.studio.view import Library

MAX_TILES = 256  # tiles of a contact sheet
MAX_VALUES = 250_000  # values of all its tiles
MAX_SILENT_NORM = 0.01  # as a fraction of the median norm of a layer's filters; see InspectSession.tiles
BINS = 41
MAX_VERIFIED = 2_000_000  # entries of a layer's input, output and parameters
CORNER = 32  # side in pixels of the part of larger feature maps that is verified
CHECKED_ENTRIES = 6  # entries of each gradient that are compared with central differences
NO_MODEL = "no model is open; send inspect.open first"


@dataclass(frozen=True)
class OpenGraph:
    """inspect.open: model: one of the names that the server offers, which include runs; None for the first.

    upload: the id of the picture that enters the model; None for a bundled one.
    """

    model: str | None = None
    upload: str | None = None


@dataclass(frozen=True)
class ReadTiles:
    """inspect.tiles: show: "filters" or "maps" of the layer at `path`; channel: input channel of the filters."""

    path: str
    show: str = "filters"
    channel: int = 0


@dataclass(frozen=True)
class ReadHistograms:
    """inspect.histograms: histograms of the parameters of the layer at `path`."""

    path: str


@dataclass(frozen=True)
class VerifyLayer:
    """inspect.verify: compare the layer's gradients with automatic differentiation and with central differences."""

    path: str


@dataclass
class LayerRow:
    """A layer in the forward pass of a model.

    x, y: its input and output at its first use. params: its parameters and buffers by name. multiply_adds: the number
    of all uses. sources: the indices of the rows whose outputs it receives.
    """

    path: str
    layer: Layer
    x: Any
    y: Any
    params: dict[str, Tensor]
    multiply_adds: int = 0
    uses: int = 0
    sources: set[int] = field(default_factory=set)

    @property
    def out(self) -> Tensor:
        """The output, or the first tensor of a tuple."""
        return tensors(self.y)[0]

    def to_json(self) -> dict[str, Any]:
        """Return the row as JSON values; maps: whether the output has feature maps (N, C, H, W)."""
        buffers = self.layer.buffers
        weight = self.params.get("weight") if Trait.WEIGHTED in self.layer.traits else None
        return {
            "path": self.path,
            "layer": describe(self.layer),
            "shape": list(self.out.shape[1:]),
            "parameters": sum(tensor.numel() for name, tensor in self.params.items() if name not in buffers),
            "buffers": sum(tensor.numel() for name, tensor in self.params.items() if name in buffers),
            "multiply_adds": self.multiply_adds,
            "uses": self.uses,
            "sources": sorted(self.sources),
            "weight": None if weight is None else list(weight.shape),
            "maps": self.out.dim() == 4,
        }


class InspectSession:
    """One tab's model, and the rows of its forward pass for a picture."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self.rows: dict[str, LayerRow] = {}

    def open(self, request: OpenGraph) -> Reply:
        """Compute a model's forward pass for a picture; return a row for each layer, in forward order."""
        name = self.library.names[0] if request.model is None else request.model
        model = self.library.open(name)
        picture, x = self._input(name, model, request.upload)
        self.rows = {}
        producers = dict[int, int]()  # rows by the ids of their outputs
        tensors_alive = list[Any]()  # keeps all tensors alive, because ids of freed ones would be reused
        params = flatten(model.params)

        def watch(path: str, layer: Layer, x: Any, y: Any, cache: Any) -> None:
            tensors_alive.append((x, y))
            start = prefix_of(path)
            layer_params = {key[len(start) :]: param for key, param in params.items() if key.startswith(start)}
            if path in params:  # a layer that is one parameter
                layer_params[""] = params[path]
            row = self.rows.setdefault(path, LayerRow(path, layer, x, y, layer_params))
            index = [*self.rows].index(path) if row.uses else len(self.rows) - 1
            row.sources |= {producers[id(tensor)] for tensor in tensors(x) if id(tensor) in producers} - {index}
            row.multiply_adds += multiply_adds(layer, layer_params, x, y)
            row.uses += 1
            producers.update({id(tensor): index for tensor in tensors(y)})

        with torch.no_grad():
            model.objective.watched(watch).predict(model.params, x)
        models = (*self.library.names, *self.library.trained, *self.library.made)
        fields = {
            "model": name,
            "models": models if name in models else (*models, name),
            "task": task_of(model).name,
            "picture": picture,
            "upload": request.upload,
        }
        fields |= {"input": list(x.shape[1:]), "layers": [row.to_json() for row in self.rows.values()]}
        used_nets = {path.partition(".")[0] for path in self.rows}
        # Networks that run only in training, such as the discriminator of a GAN, and their numbers of parameters.
        fields["idle"] = {
            name: sum(param.numel() for path, param in params.items() if path.startswith(f"{name}."))
            for name in model.objective.nets
            if name and name not in used_nets
        }
        input_image = x[0] if x.dim() == 4 else x.flatten()[None, None]  # (C, H, W)
        return Reply(fields, {"x": input_image})

    def _input(self, name: str, model: Any, upload: str | None) -> tuple[str | None, Tensor]:
        """Return a picture's name and the model's input for it; None and zeros for a task without pictures."""
        if name in self.library.made:
            return None, self.library.made[name].x
        task = task_of(model)
        try:
            predictor = task.predictor(model)
        except PellucidError:
            if upload is not None:
                raise
            return None, torch.zeros(1, *model.nominal_shape)
        if upload is not None:
            raw = self.library.uploads[upload]
            return upload, model.scaled(task.resize_to_input(model, predictor.frame(raw))[None])
        # Samples are named by kind and index, such as "digit 0".
        picture = f"{family_for(name, model.nominal_shape[0])} 0"
        return picture, model.scaled(task.resize_to_input(model, predictor.frame(sample(picture)))[None])

    def _row(self, path: str) -> LayerRow:
        if not self.rows:
            raise PellucidError(NO_MODEL)
        check_known("no layer", path, [*self.rows])
        return self.rows[path]

    def tiles(self, request: ReadTiles) -> Reply:
        """Return the filters or the feature maps of a layer as tiles (n, h, w), and the indices of silent ones.

        A filter is silent if its norm, over all input channels, is at most MAX_SILENT_NORM times the median norm of the
        layer's filters. A feature map is silent if none of its values is positive.
        """
        row = self._row(request.path)
        check_known("no kind of tiles", request.show, ["filters", "maps"])
        channels = 1
        if request.show == "maps":
            planes = row.out[0] if row.out.dim() == 4 else row.out.flatten()[None, None]
            silent = (planes.flatten(1).amax(1) <= 0).nonzero().flatten()
        else:
            weight = row.params.get("weight")
            if weight is not None and isinstance(row.layer, ConvTranspose2d):  # (inputs, outputs, h, w)
                weight = weight.transpose(0, 1)
            if weight is None or weight.dim() < 2:
                raise PellucidError(f"{request.path} has no filters")
            weight = weight.detach()
            norms = weight.flatten(1).norm(dim=1)
            silent = (norms <= MAX_SILENT_NORM * norms.median()).nonzero().flatten()
            weight = weight if weight.dim() == 4 else self._as_pictures(row, weight)
            channels = weight.shape[1]
            check(0 <= request.channel < channels, "channel", f"from 0 to {channels - 1}", request.channel)
            planes = weight[:, request.channel]
        count = max(1, min(len(planes), MAX_TILES, MAX_VALUES // planes[0].numel()))
        fields = {"path": request.path, "show": request.show, "count": len(planes), "channels": channels}
        return Reply({**fields, "silent": silent.tolist()}, {"tiles": planes[:count]})

    def _as_pictures(self, row: LayerRow, weight: Tensor) -> Tensor:
        """Return a weight (units, D) as (units, C, H, W), the shape of the maps before Flatten, else with C = H = 1."""
        rows = [*self.rows.values()]
        shapes = [rows[k].x.shape[1:] for k in row.sources if isinstance(rows[k].layer, Flatten)]
        fitting = (one for one in shapes if len(one) == 3 and min(one[1:]) > 1 and one.numel() == weight[0].numel())
        return weight.reshape(len(weight), *next(fitting, (1, 1, -1)))

    def histograms(self, request: ReadHistograms) -> Reply:
        """Return the counts of each parameter's values in equal bins from its minimum to its maximum."""
        row, ranges, counts = self._row(request.path), dict[str, Any](), dict[str, Tensor]()
        for key, param in row.params.items():
            name = key or request.path.rpartition(".")[2]  # a layer that is one parameter
            values = param.detach().float()
            if count := int((~values.isfinite()).sum()):
                raise PellucidError(
                    f"{request.path}.{name}: {count:,} of {values.numel():,} values are NaN or infinite; look for the "
                    "cause with `pellucid doctor`"
                )
            low, high = float(values.min()), float(values.max())
            ranges[name] = {
                "low": low,
                "high": high,
                "mean": float(values.mean()),
                "std": float(values.std(correction=0)),
            }
            counts[name] = torch.histc(values, BINS, low, high)
        return Reply({"path": request.path, "ranges": ranges}, counts)

    def verify(self, request: VerifyLayer) -> Reply:
        """Return the largest errors of each gradient of a layer, at its input for the picture, in float64.

        If the feature maps are large, the input is only their upper left corner.
        """
        row = self._row(request.path)
        if isinstance(row.y, tuple):
            raise PellucidError(f"{request.path} has several outputs; use pellucid verify")
        x, y, corner = row.x, row.out, None
        if _size(row, x, y) > MAX_VERIFIED and all(tensor.dim() == 4 for tensor in tensors(x)):
            corner = CORNER
            parts = [tensor[..., :corner, :corner] for tensor in tensors(x)]
            x = tuple(parts) if isinstance(x, tuple) else parts[0]
            with torch.no_grad():
                y = tensors(forward(row.layer, row.params, x, Mode())[0])[0]
        if (size := _size(row, x, y)) > MAX_VERIFIED:
            raise PellucidError(f"{request.path} has {size:,} numbers, above {MAX_VERIFIED:,}; use pellucid verify")
        target = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).view_as(y)
        table = verify(row.layer, row.params, x, target, Quadratic(), samples=CHECKED_ENTRIES)
        # The network is this single layer, so the table has its dx twice, and its dy is the gradient of the loss.
        by_name = {row.what: row for row in table.rows if row.what != "dy"}
        rows = [{**asdict(entry), "what": entry.what or request.path.rpartition(".")[2]} for entry in by_name.values()]
        bounds = {"tolerance": TOLERANCE, "differences": differences.TOLERANCE}
        return Reply({"path": request.path, **bounds, "corner": corner, "rows": rows}, {})


def _size(row: LayerRow, x: Any, y: Tensor) -> int:
    """Return the number of values in the input, the output and the parameters of a layer."""
    return sum(tensor.numel() for tensor in (*tensors(x), y, *row.params.values()))


HANDLERS: dict[str, tuple[type, Callable[[InspectSession, Any], Reply]]] = {
    "inspect.open": (OpenGraph, InspectSession.open),
    "inspect.tiles": (ReadTiles, InspectSession.tiles),
    "inspect.histograms": (ReadHistograms, InspectSession.histograms),
    "inspect.verify": (VerifyLayer, InspectSession.verify),
}
