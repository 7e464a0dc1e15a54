"""The requests of the view Explain, and its state for one tab: a model, a picture, the explained score, and maps."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check, check_known
from pellucid.combine import Sequential
from pellucid.combine.base import Combinator, walk
from pellucid.explain import METHODS, Occluded, explain, ledger, scores, top_patches, upto
from pellucid.explain.checks import SUM_CHECKS, deletion
from pellucid.explain.methods import MAGNITUDES
from pellucid.explain.occlusion import grey, squares
from pellucid.explain.rollout import has_attention_weights
from pellucid.explain.verdicts import ORDERS, ZERO, map_caveat, sum_verdict, zero_verdict
from pellucid.layers.base import Layer, Mode, Trait
from pellucid.predictor import Picture, Predicted
from pellucid.studio.explain.layers import maps_of
from pellucid.studio.explain.requests import (
    AimAt,
    OccludeFrom,
    OpenExplain,
    ReadFeatureMaps,
    ReadRelevance,
    ReadTop,
    RunMethod,
    ShowPicture,
)
from pellucid.studio.messages import Reply
from pellucid.studio.pictures import as_bytes, family_for, sample, sample_names
from pellucid.studio.view import Library
from pellucid.sweep import forward
from pellucid.task import task_of
from pellucid.task.score_to_explain import ScoreToExplain

BUDGET = 0.7  # approximate seconds of computation for one answer
RECORDED_PACE = 1e-7  # approximate seconds of a forward pass per input value, for files
AVERAGED = {"smoothgrad": "samples", "integrated_gradients": "steps"}  # methods with an option for the number of passes
PASSES = (8, 50)  # minimum and maximum number of passes of these methods
MAX_MAPS, MAP_SIDE, PATCH_SIDE = 64, 48, 96  # maps of a layer that are sent, and sides in pixels
TOP = 9  # patches of a feature map
MIN_ROWS = 4  # rows of the relevance by layer
RANDOM = "random"  # instead of a method: random orders of the pixels
GIVEN_PICTURES = "given"  # the kind of pictures that the caller gave


class ExplainSession:
    """One tab's model, picture, explained score and maps.

    pictures: (C, H, W), 0 to 1, as returned by the task's `resize_to_input`, by name; they replace the bundled ones.
    is_recorded: whether the answers are for a file: then the numbers of passes do not depend on the machine, and only
    the maps of activations are offered.
    """

    def __init__(
        self, library: Library, pictures: Mapping[str, Tensor] | None = None, is_recorded: bool = False
    ) -> None:
        self.library, self.pictures, self.is_recorded = library, pictures, is_recorded
        self.kinds = sample_names() if pictures is None else {GIVEN_PICTURES: tuple(pictures)}
        self.model: Any = None
        self.x: Tensor | None = None
        self.asked: ScoreToExplain | None = None
        self.family = ""

    @property
    def question(self) -> ScoreToExplain:
        """The score of the picture that is explained; raises PellucidError before explain.aim."""
        if self.asked is None:
            raise PellucidError("nothing is asked yet; send explain.picture and explain.aim first")
        return self.asked

    def open(self, request: OpenExplain) -> Reply:
        """Open a model; return the methods and the pictures that are offered."""
        name = self.library.names[0] if request.model is None else request.model
        model = self.library.open(name)
        self.task = task_of(model)
        self.predictor = self.task.predictor(model)
        self.model, self.x, self.asked = model, None, None
        self.inputs: dict[str, tuple[Tensor, Tensor]] = {}  # pictures, and the network's inputs for them, by name
        self.family = family_for(name, model.nominal_shape[0]) if self.pictures is None else GIVEN_PICTURES
        has_attention = any(
            has_attention_weights(layer) for net in model.objective.nets.values() for _, layer in walk(net)
        )
        self.methods = tuple(
            method for method in METHODS if method != "occlusion" and (method != "rollout" or has_attention)
        )
        methods = [
            {"name": method, "magnitudes": method in MAGNITUDES, "sum": method in SUM_CHECKS} for method in self.methods
        ]
        models = (*self.library.names, *self.library.trained)
        models = models if name in models else (*models, name)
        fields = {"model": name, "models": models, "task": self.task.name, "methods": methods}
        kinds = [{"name": kind, "samples": names} for kind, names in self.kinds.items()]
        first, uploads = self.kinds[self.family][0], self.library.uploads.names()
        return Reply({**fields, "kinds": kinds, "sample": first, "uploads": uploads}, {})

    def picture(self, request: ShowPicture) -> Reply:
        """Return a picture in the size that the network receives, and its prediction."""
        if self.model is None:
            raise PellucidError("no model is open; send explain.open first")
        if (request.sample is None) == (request.upload is None):
            raise PellucidError("explain.picture takes either a sample or an upload")
        name = request.sample or request.upload or ""
        self.x, self.asked = self._seen(name, request.sample is not None), None
        has_raw = request.sample is None or self.pictures is None
        self.size = self._raw(name, request.sample is not None).shape[1:] if has_raw else self.x.shape[1:]
        if request.sample is not None:
            self.family = next(kind for kind, names in self.kinds.items() if name in names)
        picture = as_bytes(self.x)
        try:
            prepared = self.predictor.prepared(picture)
            (output,) = self.predictor.predict([(Picture("picture", name, lambda: prepared), prepared)])
        except PellucidError as error:
            output = error
        if not isinstance(output, Predicted):
            return Reply({"line": str(output)}, {"picture": picture})
        drawn = {"boxes": output.boxes, "scores": output.scores, "mask": output.mask, "image": output.image}
        drawn["points"] = None if output.points is None else output.points.reshape(-1, 3)
        tensors = {name: value.cpu() for name, value in drawn.items() if value is not None}
        line = output.line.removeprefix(f"{name}: ")
        values = {"line": line, "label": output.label, "labels": output.labels, "confidence": output.confidence}
        return Reply(values, {"picture": picture, **tensors})

    def _seen(self, name: str, is_sample: bool) -> Tensor:
        """Return a picture (C, H, W), 0 to 1, in the size that the network receives."""
        if is_sample and self.pictures is not None:
            check_known("no picture", name, self.pictures)
            return self.pictures[name]
        return self.task.resize_to_input(self.model, self.predictor.frame(self._raw(name, is_sample)))

    def _raw(self, name: str, is_sample: bool) -> Tensor:
        """Return a picture (3, H, W) uint8 in its own size."""
        return sample(name) if is_sample else self.library.uploads[name]

    def aim(self, request: AimAt) -> Reply:
        """Choose the score of the picture that is explained; return it with the other scores to choose from."""
        if self.x is None:
            raise PellucidError("there is no picture yet; send explain.picture first")
        place, (height, width) = request.place, self.x.shape[1:]
        if place is not None:
            if len(place) != 4 or not (0 <= place[0] < place[2] <= height and 0 <= place[1] < place[3] <= width):
                raise PellucidError(f"place must be top, left, bottom and right in a picture of {height}x{width}")
            place = (place[0], place[1], place[2], place[3])
        with torch.no_grad():
            score = self.task.score_to_explain(self.model, self.x, request.of, place)
            question = score.of_pixels((height, width), self.size)
            layers = maps_of(question)
            if self.is_recorded:
                layers = [layer for layer in layers if layer["activation"]] or layers[-1:]
            start = time.perf_counter()
            score = float(scores(question.net, question.params, question.x, question.target))
            pace = time.perf_counter() - start
        self.pace = question.x.numel() * RECORDED_PACE if self.is_recorded else pace  # seconds of a forward pass
        self.layers, self.asked, self.maps, self.hidden = layers, question, dict[str, Tensor](), list[Tensor]()
        probable: Tensor | None = None if question.are_logits else question.scores
        if isinstance(question.target, (int, str)) and question.read is not None and question.scores.dim() == 1:
            read = question.read(question.scores[None])[0]
            probable = read if read.shape == question.scores.shape and bool(((read >= 0) & (read <= 1)).all()) else None
        choices = {"choices": question.choices, "logits": question.scores.tolist() if question.are_logits else None}
        fields = {"label": question.label, "score": score, "chosen": question.chosen, "place": question.area, **choices}
        return Reply({**fields, "probabilities": None if probable is None else probable.tolist(), "layers": layers}, {})

    def run(self, request: RunMethod) -> Reply:
        """Return the map of one method, summed over channels, and whether its sum is as expected."""
        question, method = self.question, request.method
        check_known("no method", method, METHODS)
        options = dict(question.options.get(method, {}))
        if method in AVERAGED:
            options[AVERAGED[method]] = max(PASSES[0], min(PASSES[1], round(BUDGET / (3 * self.pace))))
        map_on_device = explain(question.net, question.params, question.x, method, question.target, **options)
        map_ = map_on_device.cpu()
        if not bool(map_.isfinite().all()):
            raise PellucidError(f"{method} returns NaN or infinity; look for NaN in the model's weights")
        self.maps[method] = map_
        total, expected, verdict = float(map_.sum()), None, None
        if method in SUM_CHECKS:
            sums = SUM_CHECKS[method](question.net, question.params, question.x, question.target, map_on_device)
            expected = float(sums.expected)
            verdict = sum_verdict(total, expected, float(sums.gap)).to_json()
        if map_caveat(map_, expected) == ZERO:
            verdict = zero_verdict().to_json()
        passes = options.get(AVERAGED.get(method, ""))
        fields = {"method": method, "sum": total, "expected": expected, "verdict": verdict, "passes": passes}
        return Reply(fields, {"map": self._cut(map_[0].amax(0) if method == "saliency" else map_[0].sum(0))})

    def _cut(self, plane: Tensor) -> Tensor:
        """Return a plane without the rows and columns by which the network's input was padded."""
        assert self.x is not None
        return plane[: self.x.shape[1], : self.x.shape[2]]

    def curve(self, request: RunMethod) -> Reply:
        """Return the score while pixels are deleted, in the order of a method or, as a mean, in random orders."""
        question, steps = self.question, 20 if self.pace < BUDGET / 30 else 10
        if request.method == RANDOM:
            count = max(1, min(ORDERS, round(BUDGET / (self.pace * (steps + 1)))))
            generator = torch.Generator().manual_seed(0)
            maps = torch.rand((count, 1, *question.x.shape[2:]), generator=generator)
        else:
            check_known("no map by", request.method, self.maps)
            maps = self.maps[request.method]
        x = question.x.expand(len(maps), *question.x.shape[1:])
        deleted = deletion(
            question.net, question.params, x, question.target, maps.to(x.device), steps=steps, read=question.read
        )  # fmt: skip
        values = {
            "parts": deleted.fractions.tolist(),
            "scores": deleted.scores.mean(0).tolist(),
            "area": float(deleted.area.mean()),
        }
        return Reply({"method": request.method, "orders": len(maps), **values}, {})

    def relevance(self, request: ReadRelevance) -> Reply:
        """Return the relevance at the input of each layer with weights, from the last to the first, and the ledger.

        In a network with branches, each block is one row, unless fewer than MIN_ROWS rows would remain.
        """
        question, rows = self.question, list[dict[str, Any]]()
        blocks = {path: type(net) is not Sequential for path, net in walk(question.net) if isinstance(net, Combinator)}

        def watch(path: str, layer: Layer, dy: Any, dx: Any, dparams: Any) -> None:
            parts = path.split(".")
            depth = sum(blocks.get(".".join(parts[:k]), False) for k in range(len(parts)))  # enclosing blocks
            if path and isinstance(dx, Tensor) and (blocks.get(path) or Trait.WEIGHTED in layer.traits):
                sums = {"positive": float(dx.clamp_min(0).sum()), "negative": float(dx.clamp_max(0).sum())}
                rows.append({"path": path, "type": type(layer).__name__, "n": dx[0].numel(), **sums, "depth": depth})

        result = ledger(
            question.net, question.params, question.x, question.target, watch=watch, **question.options.get("lrp", {})
        )
        rows = [row for row in rows if row["positive"] or row["negative"]]
        shown_layers: list[dict[str, Any]] = []
        for level in range(max((row["depth"] for row in rows), default=0) + 1):
            shown_layers = [
                row for row in rows if (row["depth"] == level if blocks.get(row["path"]) else row["depth"] <= level)
            ]
            if len(shown_layers) >= MIN_ROWS:
                break
        totals = {"score": result.score, "input": result.input, "absorbed": result.by_cause()}
        return Reply({**totals, "layers": shown_layers}, {})

    def occlude(self, request: OccludeFrom) -> Reply:
        """Return the score with a grey square at each of the next positions, and at the end the map of its effect."""
        question = self.question
        height, width = question.x.shape[2:]
        side = max(1, min(height, width) // 4)
        corners = squares(height, width, side, max(1, side // 4))
        places = corners.flatten(0, 1)
        check(0 <= request.start <= len(self.hidden), "start", f"from 0 to {len(self.hidden)}", request.start)
        fill = question.options.get("occlusion", {}).get("fill", grey(self.model))
        filled = torch.as_tensor(fill, dtype=question.x.dtype, device=question.x.device).expand(question.x.shape)
        start, batch = time.perf_counter(), max(1, min(32, round(BUDGET / (4 * self.pace))))
        while len(self.hidden) < len(places) and time.perf_counter() - start < BUDGET:
            variants = []
            for top, left, bottom, right in places[len(self.hidden) : len(self.hidden) + batch].tolist():
                variants.append(question.x[0].clone())
                variants[-1][:, top:bottom, left:right] = filled[0, :, top:bottom, left:right]
            occluded_scores = scores(question.net, question.params, torch.stack(variants), question.target)
            self.hidden += occluded_scores.cpu().unbind()
        tensors = {"scores": torch.stack(self.hidden[request.start :]) if request.start < len(self.hidden) else None}
        base = scores(question.net, question.params, question.x, question.target).cpu()
        if len(self.hidden) == len(places):
            grid = torch.stack(self.hidden).view(1, *corners.shape[:2])
            self.maps["occlusion"] = Occluded(grid, base, None, corners).effect(height, width)
            tensors["map"] = self._cut(self.maps["occlusion"][0, 0])
        values = {"done": len(self.hidden), "squares": places.tolist() if request.start == 0 else None}
        sent = {name: tensor for name, tensor in tensors.items() if tensor is not None}
        return Reply({**values, "total": len(places), "score": float(base)}, sent)

    def feature_maps(self, request: ReadFeatureMaps) -> Reply:
        """Return the feature maps of a layer for the picture, reduced if they are large."""
        question = self.question
        self._check_layer(request.path)
        y, _ = forward(upto(question.net, request.path), question.params, question.x, Mode(keep=False))
        maps = y[0, :MAX_MAPS].detach().cpu()
        largest = maps.flatten(1).amax(1).tolist()
        return Reply(
            {"path": request.path, "count": y.shape[1], "largest": largest}, {"maps": _reduced(maps, MAP_SIDE)}
        )

    def _check_layer(self, path: str) -> None:
        check_known("no layer with maps", path, [one["path"] for one in maps_of(self.question)])

    def top(self, request: ReadTop) -> Reply:
        """Return the patches of pictures that activate a map most, with their deconvolutions.

        The pictures are the samples of the same kind, or of all kinds if those are few, and the uploads. If the
        time is too short for all of them, `looked` is below `pictures`, and the same request continues the search.
        """
        question = self.question
        self._check_layer(request.path)
        has_few_samples = len(self.kinds[self.family]) < TOP
        samples = (
            [name for names in self.kinds.values() for name in names] if has_few_samples else self.kinds[self.family]
        )
        names = [*samples, *self.library.uploads.names()]
        end = time.perf_counter() + BUDGET
        for k, name in enumerate(names):
            if name not in self.inputs:
                self.inputs[name] = self._input(name, k < len(samples))
                if time.perf_counter() > end:
                    break
        ready = [name for name in names if name in self.inputs]
        fitting = [name for name in ready if self.inputs[name][1].shape == question.x.shape]
        values: dict[str, Any] = {
            "path": request.path,
            "map": request.map,
            "looked": len(ready),
            "pictures": len(names),
        }
        if not fitting and len(ready) == len(names):
            raise PellucidError("none of the samples and uploads has the size of this picture")
        if not fitting:
            return Reply({**values, "names": [], "values": [], "places": []}, {})
        images = torch.cat([self.inputs[name][1] for name in fitting])
        (patches,) = top_patches(
            question.net, question.params, images, request.path, [request.map], TOP, lambda chosen: chosen, 8
        )  # fmt: skip
        tensors = dict[str, Tensor]()
        for k, (index, corners) in enumerate(zip(patches.images.tolist(), patches.corners.tolist(), strict=True)):
            top, left, bottom, right = corners
            picture = self.inputs[fitting[index]][0][:, top:bottom, left:right]
            tensors[f"patch{k}"] = as_bytes(_reduced(picture))
            tensors[f"deconvolution{k}"] = _reduced(patches.deconvolution[k].sum(0)[None, top:bottom, left:right])[0]
        patch_names = [fitting[index] for index in patches.images.tolist()]
        patch_fields = {"names": patch_names, "values": patches.value.tolist(), "places": patches.corners.tolist()}
        return Reply({**values, **patch_fields}, tensors)

    def _input(self, name: str, is_sample: bool) -> tuple[Tensor, Tensor]:
        """Return the result of `_seen` and the network's input for it, which is empty if no score can be explained."""
        try:
            x = self._seen(name, is_sample)
            with torch.no_grad():
                return x, self.task.score_to_explain(self.model, x).x
        except PellucidError:
            return torch.zeros(3, 1, 1), torch.zeros(0)


def _reduced(picture: Tensor, side: int = PATCH_SIDE) -> Tensor:
    """Return a picture (C, H, W) with sides of at most `side` pixels."""
    height, width = (max(1, round(length * min(1.0, side / max(picture.shape[1:])))) for length in picture.shape[1:])
    return F.adaptive_avg_pool2d(picture, (height, width))


HANDLERS: dict[str, tuple[type, Callable[[ExplainSession, Any], Reply]]] = {
    "explain.open": (OpenExplain, ExplainSession.open),
    "explain.picture": (ShowPicture, ExplainSession.picture),
    "explain.aim": (AimAt, ExplainSession.aim),
    "explain.run": (RunMethod, ExplainSession.run),
    "explain.curve": (RunMethod, ExplainSession.curve),
    "explain.relevance": (ReadRelevance, ExplainSession.relevance),
    "explain.occlude": (OccludeFrom, ExplainSession.occlude),
    "explain.maps": (ReadFeatureMaps, ExplainSession.feature_maps),
    "explain.top": (ReadTop, ExplainSession.top),
}
