"""The model of a recipe, with its initial weights."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from pellucid.base.errors import PellucidError
from pellucid.data import Arrays, FeatureStats, Source
from pellucid.data.source import preprocess_of, sizes_vary
from pellucid.layers.base import Layer
from pellucid.metrics import OF_MASKS, MetricLike
from pellucid.model import Model
from pellucid.objective import Objective, Supervised
from pellucid.recipe.checks import check_network, check_objective
from pellucid.recipe.recipe import Recipe
from pellucid.recipe.start import fit_head, trained_features, trained_objective, whiten
from pellucid.recipe.tables import Start
from pellucid.recipe.threads import check_auto_threads
from pellucid.run.described import scaling_entries, with_stored_names
from pellucid.run.folder import RunFolder
from pellucid.task import task_for
from pellucid.training.examples import first_batch
from pellucid.training.process import torch_threads


def build_model(
    recipe: Recipe,
    train: Source,
    data: str | os.PathLike[str] | None = None,
    preprocess: Mapping[str, Any] | None = None,
    run: RunFolder | None = None,
    starts: bool = True,
) -> Model:
    """Return the model of a recipe for images like those of `train`, with its initial weights.

    data: the root of the data sets. preprocess: entries to add to the model's preprocessing, which every weights file
    of the run contains. run: the folder of a resumed run, whose weights determine the names of the layers. starts:
    whether to start from trained weights as in [start]; if not, the weights are to be replaced. Raises
    PellucidError if the network does not fit the images or this machine's memory, if [start] does not fit the network,
    and for patterns in train.frozen and train.rates that match no path.
    """
    objective: Objective | None = recipe.build("objective")
    first_examples = first_batch(train)
    start = recipe.start if starts else Start()
    shape = tuple(first_examples.images.shape[1:])
    net: Layer | Objective = recipe.build("network") if objective is None else objective
    if isinstance(net, Objective):
        check_objective(recipe, net, shape, train.classes)
        start_weights = trained_objective(start.weights, net, shape, data) if start.weights else None
        if starts and start_weights is None and net.start_missing:
            raise PellucidError(f"{net.start_missing}; give them with start.weights")
    else:
        net = net if run is None else with_stored_names(net, run)
        check_network(recipe, net, shape, train.classes)
        start_weights = trained_features(start.weights, net, shape, data) if start.weights else None
    statistics = ((), ()) if start_weights is None else (start_weights.mean, start_weights.std)
    model_objective = Supervised(net, recipe.build("loss")) if isinstance(net, Layer) else net
    preprocessing = model_objective.preprocessing(shape, *statistics)
    if recipe.data.standardize:
        preprocessing |= scaling_entries(FeatureStats.fit(train))
    model = Model(
        net,
        optimizer=recipe.build("optimizer"),
        metrics=_metrics(recipe, model_objective),
        input_shape=(shape[0], None, None) if model_objective.any_size or sizes_vary(train) else shape,
        classes=train.classes,
        seed=recipe.recipe.seed,
        regularizer=recipe.build("regularizer"),
        schedule=recipe.build("schedule"),
        clip=recipe.train.clip or None,
        average=recipe.train.average or None,
        precision=recipe.train.precision,
        preprocess={"data": recipe.data.name, **preprocess_of(train), **preprocessing, **(preprocess or {})},
        device=recipe.recipe.device,
        **({} if objective is not None else {"loss": recipe.build("loss")}),
    )
    check_auto_threads(recipe, model.device)
    model.objective.check(model.outputs_for(shape), train.y if isinstance(train, Arrays) else first_examples.targets)
    with torch_threads(recipe.recipe.fixed_threads):  # the number of threads affects rounding
        if start_weights is not None and start_weights.is_model:
            for path, tensor in start_weights.params.items():
                model.weights[path].copy_(tensor)
        elif start_weights is not None:
            model.objective.start(model.params, start_weights.params, start_weights.mean, start_weights.std)
        if start.whiten:
            whiten(model, start.whiten, train)
        if start.linear:
            fit_head(model, train)
    model.freeze(*recipe.train.frozen)
    for pattern, factor in recipe.train.factors().items():
        model.scale_rate(pattern, factor)
    model.check_learns()
    return model


def _metrics(recipe: Recipe, objective: Objective) -> Sequence[MetricLike] | None:
    """Return the metrics of a recipe; metrics of masks ignore the class that the loss ignores."""
    if recipe.train.metrics is None:
        return task_for(objective).metrics(objective)
    ignored = recipe.loss.arguments.get("ignore")
    return [OF_MASKS[name](ignored) if name in OF_MASKS else name for name in recipe.train.metrics]
