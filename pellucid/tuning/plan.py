"""The plan of a sweep: a recipe, the values of some of its keys, the seeds, and how trials are chosen."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.util import find_spec
from itertools import combinations, islice, product
from math import prod
from typing import Any, Literal, NamedTuple

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check, check_known
from pellucid.base.toml_reader import parse_toml
from pellucid.recipe.recipe import Recipe, read_recipe
from pellucid.recipe.toml import parse_value, toml_value
from pellucid.run.records import to_record
from pellucid.tuning.space import MAX_VALUES, ValueRange, Values, read_values, values_from_json, with_type_of

FORMAT = 1  # version of definition.json
SAMPLERS = ("tpe", "random")
GRID = "grid"
Sampler = Literal["grid", "random", "tpe"]
RESERVED_KEYS = ("recipe.name", "recipe.about", "recipe.then", "recipe.seed")  # keys that a sweep sets by itself
MAX_TRIALS = 10_000
MAX_PAIRS = 1000  # pairs of values that are checked before anything is trained


@dataclass(frozen=True)
class TuningPlan:
    """A sweep: `base` is a complete recipe as TOML, and a trial replaces the values of the keys in `space`.

    seeds: each trial is trained once with each seed. trials: the number of trials. sampler: "grid" for every
    combination, "random", or "tpe", Optuna's tree-structured Parzen estimator. prune: whether to end a run that is
    worse than the median of the others after the same number of epochs. words: the words after `pellucid train` for the
    base recipe, () if no command trains it.
    """

    base: str
    space: Mapping[str, Values]
    seeds: tuple[int, ...]
    trials: int
    sampler: Sampler
    prune: bool
    words: tuple[str, ...] = field(default=(), compare=False)

    @cached_property
    def tables(self) -> dict[str, dict[str, Any]]:
        """The tables of the base recipe."""
        return parse_toml(self.base)

    @property
    def name(self) -> str:
        """The name of the recipe."""
        return self.tables["recipe"]["name"]

    @property
    def threads(self) -> int:
        """The number of threads of each run."""
        return self.tables["recipe"]["threads"]

    def with_threads(self, threads: int) -> "TuningPlan":
        """Return the same plan with another number of threads of each run."""
        recipe = self.recipe({})
        return replace(self, base=replace(recipe, recipe=replace(recipe.recipe, threads=threads)).to_toml())

    def recipe(self, settings: Mapping[str, Any], seed: int | None = None) -> Recipe:
        """Return the recipe of a run; raises PellucidError for settings that it does not accept."""
        seed_override = {} if seed is None else {"recipe.seed": seed}
        return read_recipe(self.tables, self.name, {**settings, **seed_override})

    def combination(self, index: int) -> dict[str, Any]:
        """Return the settings of a grid by their index; the last key varies fastest."""
        settings: dict[str, Any] = {}
        for key, values in reversed([*self.space.items()]):
            index, position = divmod(index, len(values.grid))
            settings[key] = values.grid[position]
        return {key: settings[key] for key in self.space}

    def command(self, settings: Mapping[str, Any], seed: int) -> list[str]:
        """Return the words of the command that repeats a run in a new run folder; [] without `words`."""
        words_by_key = {word.partition("=")[0]: word for word in self.words}
        trial_settings = {**settings, "recipe.seed": seed, "recipe.threads": self.threads}
        words_by_key.update({key: f"{key}={_override_text(value)}" for key, value in trial_settings.items()})
        return ["train", *words_by_key.values()] if self.words else []

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        space = {key: values.to_json() for key, values in self.space.items()}
        return {
            **{"format": FORMAT, "recipe": self.base, "space": space, "seeds": list(self.seeds)},
            **{"trials": self.trials, "sampler": self.sampler, "prune": self.prune},
            "words": list(self.words),
        }

    def differs_only_in_trials(self, other: "TuningPlan") -> bool:
        """Return whether two plans differ in nothing but the number of trials of a search."""
        return replace(self, trials=0) == replace(other, trials=0) and GRID not in (self.sampler, other.sampler)

    def differences(self, other: "TuningPlan") -> list[str]:
        """Return the names of the entries that differ, as in `to_json`."""
        own_values, other_values = self.to_json(), other.to_json()
        return [
            name
            for name in own_values
            if name != "words" and json.dumps(own_values[name]) != json.dumps(other_values[name])
        ]


class Definition(NamedTuple):
    """The contents of definition.json, as `TuningPlan.to_json` writes them."""

    format: int
    recipe: str
    space: dict[str, dict[str, Any]]
    seeds: tuple[int, ...]
    trials: int
    sampler: Sampler
    prune: bool
    words: tuple[str, ...] = ()


def plan_from_json(table: Mapping[str, Any], where: str) -> TuningPlan:
    """Return the plan that `to_json` described; raises PellucidError, beginning with `where`, for anything else.

    Keys that later versions added to recipes get their default values.
    """
    definition = to_record(table, Definition, where)
    _check_seeds(definition.seeds, f"{where}: seeds")
    check(1 <= definition.trials <= MAX_TRIALS, f"{where}: trials", f"from 1 to {MAX_TRIALS:,}", definition.trials)
    space = {key: values_from_json(values, f"{where}: {key}") for key, values in definition.space.items()}
    if definition.sampler == GRID:
        check(definition.trials == _grid_size(space), f"{where}: trials", "the size of the grid", definition.trials)
    try:
        tables = parse_toml(definition.recipe)
    except ValueError as error:
        raise PellucidError(f"{where}: recipe is not TOML ({error})") from error
    base = read_recipe(tables, where, {}).to_toml()
    # Raises PellucidError for keys and values that the recipe does not accept.
    read_recipe(tables, where, {key: values.values_to_check[0] for key, values in space.items()})
    return TuningPlan(
        base, space, definition.seeds, definition.trials, definition.sampler, definition.prune, definition.words
    )


def make_plan(
    recipe: Recipe,
    over: Mapping[str, Any],
    *,
    seeds: Sequence[int] | None = None,
    trials: int | None = None,
    sampler: str | None = None,
    prune: bool = False,
    threads: int = 0,
    overridden_keys: Sequence[str] = (),
    words: Sequence[str] = (),
) -> TuningPlan:
    """Return the plan of a sweep, checked before anything is trained.

    over: the values of each key, as for `read_values`. trials: the number of trials, None for a grid. threads: of each
    run, if the recipe does not set them. overridden_keys: those that the user sets to one value. words: see TuningPlan.
    Raises PellucidError for keys and values that the recipe does not accept, singly and in pairs (see MAX_PAIRS), for a
    recipe without validation data, and for a search without Optuna.
    """
    sampler_kind = _read_sampler(trials, sampler)
    seeds = (recipe.recipe.seed,) if seeds is None else tuple(seeds)
    _check_seeds(seeds, "--seeds")
    for key in over:
        if key in RESERVED_KEYS:
            hint = "give --seeds" if key == "recipe.seed" else "a sweep sets it by itself"
            raise PellucidError(f"--over {key} cannot be varied; {hint}")
        if key in overridden_keys:
            raise PellucidError(f"{key} is set to one value and varied by --over; do one of both")
    if not over and len(seeds) == 1:
        raise PellucidError("a sweep needs --over KEY=VALUES, such as optimizer.lr=1e-4..1e-1:log, or --seeds 0..4")
    recipe_table = replace(recipe.recipe, then="", threads=recipe.recipe.threads or threads, seed=0)
    base = replace(recipe, recipe=recipe_table)
    words = (*words, 'recipe.then=""') if words and recipe.recipe.then else tuple(words)
    plan = TuningPlan(base.to_toml(), {}, seeds, trials=1, sampler=sampler_kind, prune=prune, words=words)
    space = _with_types_of_keys(plan, {key: read_values(requested, f"--over {key}") for key, requested in over.items()})
    plan = replace(plan, space=space, trials=trials or _grid_size(space))
    for settings in _sample_settings(space):
        trial_recipe = plan.recipe(settings)
        if trial_recipe.recipe.threads == "auto":
            raise PellucidError(
                f'{plan.name}: recipe.threads: "auto" is for a single training, and the runs of a sweep need the same '
                "number; give one, or leave it out"
            )
        if not trial_recipe.data.validation:
            raise PellucidError(
                f"{plan.name}: a sweep compares runs on validation images, and the recipe holds none out; add "
                "data.validation=0.1"
            )
    needs_optuna = sampler_kind == "tpe" or prune
    if needs_optuna and find_spec("optuna") is None:
        alternative = "leave out --prune" if prune else "give --sampler random"
        raise PellucidError(f"the search needs Optuna: pip install 'pellucid[tune]', or {alternative}")
    return plan


def command_words(recipe: Any, overrides: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the words after `pellucid train` for a recipe's name or file, with overrides."""
    return str(recipe), *(f"{key}={_override_text(value)}" for key, value in overrides.items())


def _override_text(value: Any) -> str:
    """Return a value as the right side of `key=value`."""
    return value if isinstance(value, str) and value and parse_value(value) == value else toml_value(value)


def _read_sampler(trials: int | None, sampler: str | None) -> Sampler:
    if trials is None:
        if sampler is not None:
            raise PellucidError(f"--sampler {sampler} needs the number of --trials; without it, a sweep is a grid")
        return GRID
    check(type(trials) is int and 1 <= trials <= MAX_TRIALS, "--trials", f"from 1 to {MAX_TRIALS:,}", trials)
    check_known("--sampler: no", sampler or SAMPLERS[0], SAMPLERS)
    return "random" if sampler == "random" else "tpe"


def _check_seeds(seeds: tuple[Any, ...], where: str) -> None:
    are_seeds = all(type(seed) is int and 0 <= seed < 2**63 for seed in seeds)
    are_different = bool(seeds) and len(set(seeds)) == len(seeds)
    check(are_seeds and are_different, where, "different whole numbers from 0, such as 0..4 or 0,7", list(seeds))


def _with_types_of_keys(plan: TuningPlan, space: Mapping[str, Values]) -> dict[str, Values]:
    """Return the values of keys, with ranges converted to the types of the recipe's keys."""
    if not any(isinstance(values, ValueRange) for values in space.values()):
        return dict(space)
    tables = plan.recipe({key: values.values_to_check[0] for key, values in space.items()}).tables()
    recipe_values = {f"{table}.{name}": value for table, keys in tables.items() for name, value in keys.items()}
    return {key: with_type_of(values, recipe_values[key], f"--over {key}") for key, values in space.items()}


def _grid_size(space: Mapping[str, Values]) -> int:
    sizes = {}
    for key, values in space.items():
        if isinstance(values, ValueRange) and values.whole and values.high - values.low >= MAX_VALUES:
            raise PellucidError(f"--over {key} has more than {MAX_VALUES:,} values in a grid; give --trials")
        sizes[key] = len(values.grid)
    count = prod(sizes.values())
    if count > MAX_TRIALS:
        raise PellucidError(f"the grid has {count:,} trials, more than {MAX_TRIALS:,}; give --trials for a search")
    return count


def _sample_settings(space: Mapping[str, Values]) -> Iterator[dict[str, Any]]:
    """Yield settings in which every value occurs (for a range, both ends), and MAX_PAIRS pairs of values."""
    first_settings = {key: values.values_to_check[0] for key, values in space.items()}
    yield first_settings
    for key in space:
        yield from ({**first_settings, key: value} for value in space[key].values_to_check[1:])
    pairs = (
        {**first_settings, key: value, other_key: other_value}
        for key, other_key in combinations(space, 2)
        for value, other_value in product(space[key].values_to_check[1:], space[other_key].values_to_check[1:])
    )
    yield from islice(pairs, MAX_PAIRS)
