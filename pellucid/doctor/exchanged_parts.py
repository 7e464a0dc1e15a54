"""Parts of a training, exchanged for those of a reference one after another, where no intervention names a cause.

The reference is a small network with plain settings on the user's own data, and examples held out of the training data.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from math import inf, sqrt
from statistics import fmean
from typing import Any

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.data.source import Arrays, Source
from pellucid.doctor.case import Case
from pellucid.doctor.checks import preprocessing_mismatch, unnormalised_inputs
from pellucid.doctor.cross_fit import have_near_copies
from pellucid.doctor.diagnosis import FAULTY_DATA, FAULTY_NETWORK, FAULTY_SETTINGS, RATE_FIRST, SCHEDULE_FIRST
from pellucid.doctor.differences import as_text, differences
from pellucid.doctor.evaluations import GOOD_SCORE, Evaluations
from pellucid.doctor.finding import Remedy, Suspect, suspect
from pellucid.doctor.intervention import effect_of
from pellucid.doctor.paired import N_RESERVED_PAIRS, PairedTrainings, ProvenCause
from pellucid.doctor.remedies import (
    BATCH_SIZE,
    LEARNING_RATE,
    count_of_indices,
    hidden_layers,
    rebuilt,
    with_initial_model,
    with_trained,
)
from pellucid.doctor.replaced_parts import with_held_out_part
from pellucid.doctor.suspects.settings import (
    MAX_EARLY_END,
    clipping_suspects,
    end_of_rate,
    regularizer_suspects,
    suspect_of_rate,
)
from pellucid.doctor.training_case import TrainingCase, validation_of
from pellucid.layers import BatchNorm, Conv2d, Dense, Layer, ReLU, Tanh
from pellucid.models.unet import unet
from pellucid.objective import Supervised
from pellucid.optim import Adam, Optimizer
from pellucid.optim.schedules import Constant, Cosine
from pellucid.training.examples import first_batch
from pellucid.training.model import BaseModel
from pellucid.training.reading import drawn_indices

# Minimum gains of the score by an exchange.
MIN_DATA_GAIN = 0.06
MIN_SETTINGS_GAIN = 0.1  # higher, since many sound trainings gain a little by other settings
MIN_NETWORK_GAIN = 0.08
MAX_CHANCE_GAIN = 1.5  # by one example: three standard errors if a quarter of the examples is answered otherwise
FAR_RATE_RATIO = 5.0  # of the learning rate and the usual one, or its inverse, from which the rate is named first
FAR_BATCH_RATIO = 8.0  # of the batch size and that of the reference, or its inverse, from which it is exchanged alone
MIN_NARROWED_FRACTION = 0.5  # of the gain by another part, by the learning rate or the scale of the inputs alone
PART_BUDGET = 3.0  # added to the default budget, since the exchange of parts comes last
NARROWING_BUDGET = 2.0  # added to the default budget, to find in a part what is at fault
MAX_UNSCORED = 0.02  # difference of the shares of targets that the loss ignores, such as an unlabelled border
WIDTH = 12  # channels of the first level of the reference for maps
PREDICTING_NETWORK = "generator"  # of objectives with several networks


def find_faulty_part(evaluations: Evaluations) -> ProvenCause | None:
    """Exchange the data, the settings and the network, until an exchange proves that the fault is in this part.

    Only if no other fault is measured. Inputs with other statistics are no such fault: those of sound data differ too.
    """
    faults = [
        finding for finding in evaluations.findings if finding.is_fault and finding.check != preprocessing_mismatch.NAME
    ]
    if faults or evaluations.likely or evaluations.partial_cause is not None:
        return None
    has_reference = evaluations.is_scored and evaluations.has_targets  # for generators, none is known to be sound
    if not has_reference or float(evaluations.validation_scores.mean()) >= GOOD_SCORE:
        return None
    trainings, case = evaluations.trainings, evaluations.case
    trainings.default_budget += PART_BUDGET
    if (cause := _unlike_data(evaluations)) is not None:
        return cause
    steps = trainings.max_steps
    for exchange in _exchanges(case):
        try:
            # a reference may have more work than a small case
            trainings.reserve(*N_RESERVED_PAIRS * [(case, steps), (exchange.apply(case), steps)])
            cause = trainings.measure(case, exchange, evaluations.base_scores.setdefault(steps, {}), steps)
        except PellucidError as error:  # the part does not fit the others
            evaluations.untried[exchange.remedy.key] = str(error)
            continue
        if cause is None or not cause.effect.surpasses(evaluations.validation_scores):
            continue
        trainings.default_budget += NARROWING_BUDGET
        if exchange.finding.check == FAULTY_NETWORK:
            return _narrowed_to_inputs(evaluations, cause)
        if exchange.finding.kind == RATE_FIRST:
            cause = _narrowed_to_setting(evaluations, cause, _other_rates(case))
        is_narrowed = cause.finding.check != FAULTY_SETTINGS or cause.finding.kind == RATE_FIRST
        return cause if is_narrowed else _narrowed_to_setting(evaluations, cause, _exchanges_of_one_setting(case))
    return None


def _narrowed_to_inputs(evaluations: Evaluations, cause: ProvenCause) -> ProvenCause:
    """Return the scale of the inputs as the cause if standardized inputs alone give half of the gain.

    cause: that the exchange of the network has proven. The small network standardizes its inputs itself.
    """
    trainings, case = evaluations.trainings, evaluations.case
    if not isinstance(case, Case) or any(case.model.index_inputs):
        return cause
    finding = unnormalised_inputs.finding_of_scale(
        case, "the network hardly learns from inputs of this scale; the small network standardizes them itself", {}
    )
    min_gain = max(MIN_NETWORK_GAIN, MIN_NARROWED_FRACTION * fmean(cause.effect.gains))
    steps = trainings.max_steps
    change = Suspect(finding, min_gain=min_gain, is_likely=True)
    return trainings.measure(case, change, evaluations.base_scores[steps], steps) or cause


def _narrowed_to_setting(
    evaluations: Evaluations, cause: ProvenCause, exchanges: Iterable[Suspect]
) -> ProvenCause:  # fmt: skip
    """Return the exchange of one setting as the cause that alone gives half of the gain, within the rest of the budget.

    cause: that the exchange of all settings has proven. If other settings of the kind that it names first have no
    effect, it does not name them.
    """
    trainings, case, steps = evaluations.trainings, evaluations.case, evaluations.trainings.max_steps
    min_gain = max(MIN_SETTINGS_GAIN, MIN_NARROWED_FRACTION * fmean(cause.effect.gains))
    first_kind, verdicts = cause.finding.kind, list[str]()
    for exchange in exchanges:
        other_setting = replace(exchange, min_gain=min_gain, is_likely=True)
        n_effects = len(trainings.effects)
        try:
            proven_cause = trainings.measure(case, other_setting, evaluations.base_scores[steps], steps)
        except PellucidError as error:  # the setting does not fit the others
            evaluations.untried[exchange.remedy.key] = str(error)
            continue
        if proven_cause is not None and proven_cause.effect.surpasses(evaluations.validation_scores):
            return proven_cause
        if exchange.finding.kind == first_kind:
            verdicts += [effect.verdict for effect in trainings.effects[n_effects:]] or ["untried"]
    if not first_kind or {*verdicts} != {"no effect"}:
        return cause
    return cause.with_finding(replace(cause.suspect.finding, fix=_order_of_settings(case.model.optimizer), kind=""))


def _other_rates(case: TrainingCase) -> Iterator[Suspect]:
    """Yield the exchanges of the learning rate with the usual one, and with those beyond it."""
    optimizer = case.model.optimizer
    factors = (1.0, 0.1) if optimizer.lr > optimizer.usual_lr else (1.0, 10.0, 100.0)
    for factor in factors:
        other_rate = suspect_of_rate(case, factor * optimizer.usual_lr)
        yield replace(other_rate, finding=replace(other_rate.finding, kind=RATE_FIRST))


def _exchanges_of_one_setting(case: TrainingCase) -> Iterator[Suspect]:
    """Yield the exchanges of a schedule with that of the reference, and of the other settings.

    The rate may have been chosen for the schedule, so the usual one is tried with the other schedule too.
    """
    optimizer = case.model.optimizer
    fraction = end_of_rate(case)
    ends_early = fraction < MAX_EARLY_END
    rates = [optimizer.lr, optimizer.usual_lr] if _has_far_rate(optimizer) else [optimizer.lr]
    if isinstance(case.model.schedule, Constant):
        rates.clear()  # many sound trainings gain from a rate that falls in the end
    for rate in rates:
        other_schedule = suspect(
            "rate-decays-too-early" if ends_early else "unsuitable-schedule",
            f"the rate is below a hundredth of its highest value after {fraction:.0%} of the steps" if ends_early else
            "the network learns more with another schedule",
            f"let the learning rate fall {'later and less' if ends_early else 'in another way'}, such as along a "
            f"cosine from {rate:g} to 0 at the last step", f"a rate that falls from {rate:g} to 0 along a cosine",
            partial(rebuilt, optimizer=replace(optimizer, lr=rate), schedule=Cosine()), key=f"cosine-from-{rate:g}",
            settings={"schedule.name": "cosine", "optimizer.lr": rate}, schedule=str(case.model.schedule),
        )  # fmt: skip
        yield replace(other_schedule, finding=replace(other_schedule.finding, kind=SCHEDULE_FIRST))
    yield from clipping_suspects(case)
    if isinstance(case, Case):
        yield from regularizer_suspects(case)
    if not 1 / FAR_BATCH_RATIO < case.batch_size / BATCH_SIZE < FAR_BATCH_RATIO:
        yield suspect(
            "unsuitable-batch-size", "the network learns more with batches of another size",
            f"use batches of about {BATCH_SIZE} examples", f"batches of {BATCH_SIZE}",
            lambda case: replace(rebuilt(case), batch_size=min(BATCH_SIZE, len(case.train))), key="usual-batch-size",
            settings={"train.batch_size": BATCH_SIZE}, batch_size=case.batch_size,
        )  # fmt: skip
    yield suspect(
        "optimizer-settings", "the network learns more with another optimizer and learning rate",
        f"use Adam with a learning rate of {LEARNING_RATE:g}", f"Adam at {LEARNING_RATE:g} in the same schedule",
        partial(rebuilt, optimizer=Adam(LEARNING_RATE)), key="usual-optimizer",
        settings={"optimizer.name": "adam", "optimizer.lr": LEARNING_RATE}, learning_rate=optimizer.lr,
    )  # fmt: skip


def probable_part(trainings: PairedTrainings, has_signs: bool) -> ProvenCause | None:
    """Return the exchange of settings or network with the largest gain if it is not certain, but more than chance.

    The gain is above what two sound trainings differ by on so many examples. has_signs: whether a symptom shows that
    the training fails; without one, several pairs of trainings must show the gain.
    """
    probable = [
        one for one in trainings.unclear
        if one.suspect.finding.check in (FAULTY_SETTINGS, FAULTY_NETWORK) and (has_signs or len(one.effect.after) > 1)
        and fmean(one.effect.gains) >= max(MIN_NETWORK_GAIN, MAX_CHANCE_GAIN / sqrt(one.effect.examples))
    ]  # fmt: skip
    return max(probable, key=lambda one: fmean(one.effect.gains), default=None)


def _unlike_data(evaluations: Evaluations) -> ProvenCause | None:
    """Exchange the validation examples for examples held out of the training data, with the same trained model."""
    trainings, case = evaluations.trainings, evaluations.case
    base = with_held_out_part(case)
    if base is None or have_near_copies(base.train, validation_of(base), case.model.seed):
        return None  # examples near to those of the training are easy in any case
    shares = [_scored_share(case.model, data) for data in (case.train, validation_of(case))]
    if abs(shares[0] - shares[1]) > MAX_UNSCORED:
        return None  # scores without a border, for example, are others
    steps = trainings.max_steps
    held_out = Remedy("examples held out of the training data instead", lambda case: base, FAULTY_DATA)
    if trainings.proves_nothing(base, held_out, steps) or not trainings.spend(held_out, (base, steps)):
        return None
    trained = trainings.train(base, 0, steps)
    scores = evaluations.score(trained.model, validation_of(case))
    count = min(len(scores), len(trained.scores))
    # drawn, since the first examples may be those of a few classes
    score_pair = (
        scores[drawn_indices(len(scores), count, case.model.seed)],
        trained.scores[drawn_indices(len(trained.scores), count, case.model.seed)],
    )
    differences_text = as_text(differences(case.model, case.train, validation_of(case)))
    exchange = suspect(
        FAULTY_DATA, f"a network predicts examples held out of its training data better than the validation data"
        f"{differences_text}", f"answer for both{differences_text}: were they selected in the same way, are they read "
        "and prepared by the same code, and do their targets mean the same? Data of other persons, places or devices "
        "are no fault, but show what to expect of new ones", held_out.description, held_out.apply, "validation",
        min_gain=MIN_DATA_GAIN,
    )  # fmt: skip
    effect = trainings.record(effect_of(exchange, evaluations.score.name, [score_pair], 0))
    return ProvenCause(exchange, effect, with_trained(base, trained.model)) if effect.verdict == "cause" else None


def _scored_share(model: BaseModel, data: Source) -> float:
    """Return the share of the targets, such as pixels, that the loss does not ignore."""
    ignored = getattr(getattr(model.objective, "loss", None), "ignore", None)
    if ignored is None or not isinstance(data, Arrays):
        return 1.0
    return float((data.y != ignored).double().mean())


def _exchanges(case: TrainingCase) -> Iterator[Suspect]:
    """Yield the exchange of the settings, then that of the network."""
    if isinstance(case.model.objective, Supervised):  # others need rates of their own
        yield _exchange_of_settings(case)
    model = case.model
    nets = model.objective.nets
    name = PREDICTING_NETWORK if PREDICTING_NETWORK in nets else next(iter(nets), "")
    net = _reference_network(model, name == PREDICTING_NETWORK, count_of_indices(case))
    # the reference has one size, that of the data, also in place of a network for images of any size
    changes: dict[str, Any] = (
        {"input_shape": tuple(first_batch(case.train).images.shape[1:])} if None in model.input_shape else {}
    )
    changes["nets"] = {**nets, name: net}
    if net is not None and (len(nets) == 1 or name == PREDICTING_NETWORK):
        yield suspect(
            FAULTY_NETWORK, "a small plain network learns more from the same data, with the same loss and settings",
            "change one of these at a time: newly drawn weights if yours are loaded, then plain layers (ReLU, batch "
            "normalization) for unusual ones, then fewer strides; the first that raises the score is at fault",
            "a small network instead", lambda case: with_initial_model(rebuilt(case, **changes), _thaw),
            min_gain=MIN_NETWORK_GAIN,
        )  # fmt: skip


def _exchange_of_settings(case: TrainingCase) -> Suspect:
    """Return the exchange of the settings.

    Its fix is another schedule if the rate ends early, or the usual learning rate if the present one is far from it.
    Either is evidence against the settings already.
    """
    optimizer, usual_rate = case.model.optimizer, case.model.optimizer.usual_lr
    exchange = suspect(
        FAULTY_SETTINGS, "the network learns more with other settings of the optimizer", _order_of_settings(optimizer),
        f"Adam at {LEARNING_RATE:g} that falls to 0, without clipping or regularizer", _with_plain_settings,
        min_gain=MIN_SETTINGS_GAIN,
    )  # fmt: skip
    fraction = end_of_rate(case)
    if fraction < MAX_EARLY_END:  # another rate would end as early
        fix = (
            "let the learning rate fall later and less (it is below a hundredth of its highest value after "
            f"{fraction:.0%} of the steps)"
        )
        return replace(exchange, finding=replace(exchange.finding, fix=fix, kind=SCHEDULE_FIRST), is_likely=True)
    if not _has_far_rate(optimizer):
        return exchange
    fix = (
        f"{'lower' if optimizer.lr > usual_rate else 'raise'} the learning rate from {optimizer.lr:g} to about "
        f"{usual_rate:g} (it is{_usual_rate(optimizer).removeprefix(',')})"
    )
    return replace(exchange, finding=replace(exchange.finding, fix=fix, kind=RATE_FIRST), is_likely=True)


def _order_of_settings(optimizer: Optimizer) -> str:
    return (
        "take over one of these at a time: its optimizer with its learning rate (yours is "
        f"{optimizer.lr:g}{_usual_rate(optimizer)}), then its schedule, then its batch size ({BATCH_SIZE}); the first "
        "that raises the score is at fault"
    )


def _has_far_rate(optimizer: Optimizer) -> bool:
    """Return whether the learning rate is far from the usual one, if that is known."""
    usual_rate = optimizer.usual_lr
    return usual_rate != inf and not 1 / FAR_RATE_RATIO < optimizer.lr / usual_rate < FAR_RATE_RATIO


def _usual_rate(optimizer: Optimizer) -> str:
    if optimizer.usual_lr == inf:
        return ""
    ratio = f"{float(f'{optimizer.lr / optimizer.usual_lr:.2g}'):g}"  # two digits, without an exponent up to 1e6
    return ", the usual one" if ratio == "1" else f", {ratio} times the usual one"


def _with_plain_settings(case: TrainingCase) -> TrainingCase:
    """Return the case with Adam, a falling rate, one rate for all layers, and a usual batch size."""
    plain = rebuilt(case, optimizer=Adam(LEARNING_RATE), schedule=Cosine(), clip=None, regularizer=())
    plain = with_initial_model(plain, lambda model: model.rates.clear())
    return replace(plain, batch_size=min(BATCH_SIZE, len(case.train)))


def _thaw(model: BaseModel) -> None:
    model.frozen.clear()
    model.rates.clear()


def _reference_network(model: BaseModel, ends_in_tanh: bool, n_indices: int = 0) -> Layer | None:
    """Return a small network for the same inputs and outputs; None for outputs that are neither values nor maps."""
    shape, outputs = model.nominal_shape, model.output_shape
    if not all(isinstance(size, int) for size in (*shape, *outputs)):
        return None
    if len(outputs) == 1:
        return Sequential(*hidden_layers(tuple(shape), n_indices), Dense(outputs[0]))
    if len(outputs) != 3 or len(shape) != 3:
        return None
    downsampling: list[Layer] = [BatchNorm()]
    for _ in range(round(shape[2] / outputs[2]).bit_length() - 1):
        downsampling += [Conv2d(WIDTH, 3, stride=2, padding=1), BatchNorm(), ReLU()]
    return Sequential(*downsampling, unet(outputs[0], WIDTH, norm=True), *([Tanh()] if ends_in_tanh else []))
