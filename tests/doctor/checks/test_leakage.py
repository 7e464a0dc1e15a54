"""Validation examples among the training examples, or known to the network before its first step."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from pellucid.combine import Sequential
from pellucid.data.source import Arrays
from pellucid.doctor import Case, _noted, case_of
from pellucid.doctor.checks.leakage import CHECK, NEAR_COPIES
from pellucid.doctor.cross_fit import have_near_copies
from pellucid.doctor.examination import examine
from pellucid.doctor.rehearsal import with_copied_weights
from pellucid.layers import BatchNorm, Dense, Flatten, ReLU
from pellucid.model import Model
from pellucid.optim import Adam
from tests.doctor.small_cases import make_model


def random_images(n: int, seed: int) -> torch.Tensor:
    """Return smooth random images (n, 1, 16, 16)."""
    coarse = torch.rand(n, 1, 5, 5, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, (16, 16), mode="bilinear")


def make_case(train: torch.Tensor, held_out: torch.Tensor) -> Case:
    """Return a case whose classes are those of pictures: whether they are brighter above, as their copies are too."""
    model = make_model(Sequential(Flatten(), Dense(2)), input_shape=tuple(train.shape[1:]))
    halves = (x.float().flatten(1).tensor_split(2, 1) for x in (train, held_out))
    y, held_out_y = ((above.mean(1) > below.mean(1)).long() for above, below in halves)
    return case_of(model, train, y, validation=(held_out, held_out_y))


TRAIN, VALIDATION = random_images(300, 0), random_images(150, 1)


def test_parts_that_have_nothing_in_common_have_no_finding() -> None:
    assert CHECK.find(make_case(TRAIN, VALIDATION)) == []


def test_copies_are_counted() -> None:
    (finding,) = CHECK.find(make_case(TRAIN, torch.cat([VALIDATION, TRAIN[40:50]])))
    assert (finding.path, finding.evidence["that_are_training_examples"]) == ("validation", 10)
    assert finding.evidence["share"] == 10 / 160


def test_bytes_and_floats_of_one_image_are_copies() -> None:
    train = (TRAIN * 255).byte()
    (finding,) = CHECK.find(make_case(train, torch.cat([VALIDATION, train[:20].float() / 255])))
    assert finding.evidence["that_are_training_examples"] == 20


def test_two_copies_have_no_finding() -> None:
    assert CHECK.find(make_case(TRAIN, torch.cat([VALIDATION, TRAIN[:2]]))) == []


@pytest.mark.parametrize("kind", ["darker", "noisy", "moved"])
def test_changed_copies_are_found(kind: str) -> None:
    noise = 0.02 * torch.randn(50, 1, 16, 16, generator=torch.Generator().manual_seed(2))
    source = TRAIN[100:150]
    copies = {"darker": source * 0.7 + 0.1, "noisy": source + noise, "moved": source.roll(1, 3)}[kind]
    (finding,) = CHECK.find(make_case(TRAIN, torch.cat([copies, VALIDATION])))
    assert int(finding.evidence["nearly_training_examples"]) == pytest.approx(50, abs=6)
    validation_index, train_index = int(finding.evidence["for_example_validation"]), int(finding.evidence["and_train"])
    assert train_index == 100 + validation_index


@pytest.mark.parametrize(("count", "is_found"), [(6, False), (12, False), (40, True)])
def test_a_few_near_copies_that_hardly_raise_the_score_are_no_fault(count: int, is_found: bool) -> None:
    copies = TRAIN[100 : 100 + count] * 0.7 + 0.1
    assert bool(CHECK.find(make_case(TRAIN, torch.cat([copies, VALIDATION[: 150 - count]])))) is is_found


@pytest.mark.parametrize(("n_sources", "times"), [(40, 6), (60, 5), (25, 12)])
@pytest.mark.parametrize("is_split_first", [False, True])
def test_augmented_copies_of_few_images_are_found(n_sources: int, times: int, is_split_first: bool) -> None:
    """Copies were made of all images before the split; made of the training images alone, they are no fault."""
    rng = torch.Generator().manual_seed(n_sources)
    sources = random_images(n_sources + 30, n_sources)
    rows = (torch.arange(n_sources * times) % n_sources)[torch.randperm(n_sources * times, generator=rng)]
    copies = sources[rows] * (0.8 + 0.4 * torch.rand(len(rows), 1, 1, 1, generator=rng))
    copies = copies + 0.02 * torch.randn(copies.shape, generator=rng)
    cut = int(0.8 * len(rows))
    held_out = sources[n_sources:] if is_split_first else copies[cut:]
    assert bool(CHECK.find(make_case(copies[:cut], held_out))) is not is_split_first


@pytest.mark.parametrize(("n_backgrounds", "times"), [(20, 1), (60, 1)])
@pytest.mark.parametrize("has_own_label", [True, False])
def test_pictures_on_the_same_backgrounds_are_no_copies(n_backgrounds: int, times: int, has_own_label: bool) -> None:
    """The class of a picture is that of its object, or of its background, as in frames of scenes."""
    rng = torch.Generator().manual_seed(n_backgrounds)
    backgrounds = random_images(n_backgrounds, 6)

    def pictures(n: int) -> tuple[torch.Tensor, torch.Tensor]:
        background = torch.randint(n_backgrounds, (n,), generator=rng)
        y, top, left = (torch.randint(high, (n,), generator=rng) for high in (2, 11, 11))
        x = backgrounds[background].clone()
        for k, (label, i, j) in enumerate(zip(y.tolist(), top.tolist(), left.tolist(), strict=True)):
            x[k, 0, i : i + 3 + label, j : j + 4 - label] = 1.0
        return x, y if has_own_label else background % 2

    x, y = (part.repeat_interleave(times, 0) for part in pictures(600 // times))
    held_out, held_out_y = pictures(150)
    x, held_out = (one + 0.01 * torch.randn(one.shape, generator=rng) for one in (x, held_out))
    case = replace(make_case(x, held_out), train=Arrays(x, y), validation=Arrays(held_out, held_out_y))
    assert [one.kind for one in CHECK.find(case)] == [NEAR_COPIES] * (not has_own_label)


def spots(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return drawings of a spot in any place (n, 1, 16, 16), and in which quarter it is."""
    places = 4 + 8 * torch.rand(n, 2, 1, 1, generator=torch.Generator().manual_seed(seed))
    rows = torch.arange(16.0)
    x = torch.exp(-((rows[:, None] - places[:, 0]) ** 2 + (rows - places[:, 1]) ** 2) / 12)[:, None]
    return x, (places[:, 0] > 8).long().flatten() + 2 * (places[:, 1] > 8).long().flatten()


@pytest.mark.slow
@pytest.mark.parametrize("is_leak", [True, False])
def test_scenes_in_both_parts_are_a_cause_only_if_the_score_is_lower_without_them(is_leak: bool) -> None:
    """Pictures are recognized only as those of a scene; the quarter of a spot is seen without drawings nearby."""
    if is_leak:
        rng = torch.Generator().manual_seed(0)
        pictures = random_images(60, 6).repeat_interleave(8, 0)
        order = torch.randperm(480, generator=rng)
        x = (pictures + 0.05 * torch.randn(pictures.shape, generator=rng))[order]
        y = (torch.arange(60) % 3).repeat_interleave(8)[order]
        train, validation = (x[:360], y[:360]), (x[360:], y[360:])
    else:
        train, validation = spots(300, 0), spots(150, 1)
    model = Model(Sequential(Flatten(), Dense(64), ReLU(), Dense(4)), optimizer=Adam(3e-3), input_shape=(1, 16, 16))
    history = model.fit(*train, epochs=20, batch_size=32, verbose=False)
    diagnosis = model.doctor(*train, validation=validation, history=history, epochs=20)
    assert diagnosis.causes == (("leakage",) if is_leak else ())
    effect = next(one for one in diagnosis.intervention_effects if one.key == NEAR_COPIES)
    assert effect.verdict == ("cause" if is_leak else "no effect")


def test_no_validation_few_images_and_few_features_are_skipped() -> None:
    assert CHECK.find(case_of(make_case(TRAIN, VALIDATION).model, TRAIN, torch.arange(300) % 2)) == []
    assert CHECK.find(make_case(TRAIN[:10], TRAIN[:2] * 0.9)) == []
    bits = torch.randint(0, 2, (100, 4, 1, 1), generator=torch.Generator().manual_seed(0)).float()
    assert CHECK.find(make_case(bits[:60], bits[60:])) == []


def test_similar_examples_of_rare_classes_are_no_copies() -> None:
    class_means = random_images(10, 3)
    rng = torch.Generator().manual_seed(4)
    y, held_out_y = torch.cat([torch.zeros(280).long(), torch.arange(1, 10).repeat(2)]), torch.arange(10).repeat(15)
    train = torch.cat([random_images(280, 5), class_means[y[280:]] + 0.05 * torch.rand(18, 1, 16, 16, generator=rng)])
    held_out = class_means[held_out_y] + 0.05 * torch.rand(150, 1, 16, 16, generator=rng)
    model = make_model(Sequential(Flatten(), Dense(10)), input_shape=(1, 16, 16))
    assert CHECK.find(case_of(model, train, y, validation=(held_out, held_out_y))) == []


@pytest.mark.parametrize("times", [1, 2, 7])
def test_copies_in_few_training_examples_are_noticed(times: int) -> None:
    """Examples held out of augmented training data are near those that remain."""
    sources = random_images(300 // times, 7).repeat_interleave(times, 0)
    rng = torch.Generator().manual_seed(0)
    x = (sources + 0.02 * torch.randn(sources.shape, generator=rng))[torch.randperm(len(sources), generator=rng)]
    values = torch.rand(len(x), 4, generator=rng)
    halves = Arrays(x[:200], values[:200]), Arrays(x[200:], values[200:])
    assert have_near_copies(*halves, seed=0) is (times > 1)


@pytest.mark.parametrize("is_split_by_recording", [False, True])
@pytest.mark.parametrize("has_noise", [False, True])
def test_overlapping_windows_are_found(is_split_by_recording: bool, has_noise: bool) -> None:
    """Each window shares values with the two before and after it; noise is drawn anew in each epoch."""
    rng = torch.Generator().manual_seed(0)
    windows = torch.randn(20, 1, 220, generator=rng).cumsum(-1).unfold(-1, 40, 15).transpose(1, 2)  # (20, 13, 1, 40)
    is_held_out = torch.arange(20)[:, None] >= 14 if is_split_by_recording else torch.rand(20, 13, generator=rng) < 0.3
    is_held_out = is_held_out.expand(20, 13)
    case = make_case(windows[~is_held_out], windows[is_held_out])
    if has_noise:
        noisy = case.train.x + 0.1 * torch.randn(case.train.x.shape, generator=rng)
        case = replace(case, train=Arrays(noisy, case.train.y), plain=case.train)
    findings = CHECK.find(case)
    assert len(findings) == (not is_split_by_recording)
    for finding in findings:
        evidence = finding.evidence
        validation, train = int(evidence["for_example_validation"]), int(evidence["and_train"])
        places = torch.arange(260).reshape(20, 13)
        n_windows = int(places[is_held_out][validation] - places[~is_held_out][train])
        assert (evidence["that_begins_earlier_by_rows"], evidence["and_by_values"]) == (0, 15 * n_windows)
        assert float(evidence["share"]) > 0.9


def noisy_examples(n: int, has_classes: bool, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return inputs (n, 12) and targets that follow from them in part, so that the rest can only be memorized."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 12, generator=rng)
    y = x[:, :1] + (1.2 if has_classes else 0.7) * torch.randn(n, 1, generator=rng)
    return x, (y[:, 0] > 0).long() if has_classes else y


def case_after(earlier: Any, train: Any, validation: Any, has_classes: bool, noise: float = 0.0) -> Case:
    """Return the case of a training that begins with the weights of an earlier one."""
    net = Sequential(BatchNorm(), Dense(64), ReLU(), Dense(64), ReLU(), Dense(2 if has_classes else 1))
    loss = "softmax_cross_entropy" if has_classes else "quadratic"
    model = Model(net, loss, Adam(3e-3), metrics=(), input_shape=(12,))
    if earlier is not None:
        model.fit(*earlier, epochs=60, batch_size=20, verbose=False)
    first_model = with_copied_weights(model)
    train = train[0] + noise * torch.randn(train[0].shape, generator=torch.Generator().manual_seed(0)), train[1]
    model.fit(*train, epochs=40, batch_size=20, verbose=False)
    return case_of(model, *train, validation=validation, begin=lambda: first_model, epochs=40)


@pytest.mark.slow
@pytest.mark.parametrize("has_classes", [True, False])
@pytest.mark.parametrize(("earlier", "is_found", "is_noted"), [
    ("the last fold", True, False), ("the training part", False, False), ("all parts", False, True),
    ("other data", False, True), ("nothing", False, False),
])  # fmt: skip
def test_weights_that_know_the_validation_examples_of_a_fold_are_found(
    has_classes: bool, earlier: str, is_found: bool, is_noted: bool
) -> None:
    x, y = noisy_examples(900, has_classes, 0)
    earlier_data = {
        "the last fold": (x[300:], y[300:]), "the training part": (x[:600], y[:600]), "all parts": (x, y),
        "other data": noisy_examples(4000, has_classes, 1),
    }.get(earlier)  # fmt: skip
    case = case_after(earlier_data, (x[:600], y[:600]), (x[600:], y[600:]), has_classes)
    diagnosis = _noted(examine(case, [CHECK]), case)
    assert [one.path for one in diagnosis.findings] == ["validation"] * is_found
    if not (has_classes and earlier == "other data"):  # which are hardly predicted
        assert len(diagnosis.notes) == is_noted


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.5, 1.0])
def test_noise_of_augmented_training_examples_is_no_knowledge_of_others(noise: float) -> None:
    x, y = noisy_examples(900, False, 0)
    case = case_after(noisy_examples(4000, False, 1), (x[:600], y[:600]), (x[600:], y[600:]), False, noise)
    assert CHECK.find(case) == []


@pytest.mark.parametrize(("n_frames", "n_classes"), [(1, 5), (4, 5), (8, 5), (8, 8), (1, 12)])
def test_frames_of_scenes_are_noticed_in_few_images_of_each_class(n_frames: int, n_classes: int) -> None:
    scenes = random_images(400 // n_frames, 8)
    labels = torch.arange(len(scenes)).repeat_interleave(n_frames) % n_classes
    rng = torch.Generator().manual_seed(1)
    order = torch.randperm(len(labels), generator=rng)
    frames = scenes.repeat_interleave(n_frames, 0)
    x = (frames + 0.03 * torch.randn(frames.shape, generator=rng))[order]
    halves = Arrays(x[:200], labels[order][:200]), Arrays(x[200:], labels[order][200:])
    assert have_near_copies(*halves, seed=0) is (n_frames > 1)


@pytest.mark.parametrize(("hop", "is_image"), [(10, False), (40, False), (10, True), (40, True)])
def test_windows_that_overlap_in_few_examples_are_noticed(hop: int, is_image: bool) -> None:
    """The other half of them is no measure of new examples."""
    rng = torch.Generator().manual_seed(0)
    windows = torch.randn(20, 12, 480, generator=rng).unfold(-1, 40, hop).transpose(1, 2).flatten(0, 1)
    x = windows[torch.randperm(len(windows), generator=rng)][:200, None if is_image else slice(None)]
    values = torch.rand(len(x), 4, generator=rng)
    halves = Arrays(x[:100], values[:100]), Arrays(x[100:], values[100:])
    assert have_near_copies(*halves, seed=0) is (hop < 40)
