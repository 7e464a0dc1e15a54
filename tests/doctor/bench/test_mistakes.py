"""The benchmark of mistakes: its frozen list, its correct and wrong layers and losses, its verdicts and its page."""

import hashlib
import json
from pathlib import Path

import pytest
import torch

from benchmarks.mistakes import report
from benchmarks.mistakes.__main__ import plan_jobs
from benchmarks.mistakes.cases import CASES
from benchmarks.mistakes.healthy import HEALTHY
from benchmarks.mistakes.listed import HERE, Mistake, NamedChecks, mistakes, read_diagnosis, right_names, verdict
from benchmarks.mistakes.parts import (
    Accumulating,
    ClippedCrossEntropy,
    Detached,
    IntegerWarmup,
    MyDense,
    MyDropout,
    MyFlatten,
    MyLogSoftmax,
    MySigmoid,
    MySoftmax,
    PairwiseSquares,
    PickedLoss,
    Rounded,
    UnitLength,
)
from benchmarks.mistakes.pictures import arrows, frames, parts, split
from benchmarks.mistakes.trial import Job, run_job
from pellucid.layers.base import Layer, Mode
from pellucid.losses import Loss
from pellucid.optim import Progress

pytestmark = pytest.mark.slow

FROZEN_SHA256 = "2c5f86391e5ebf4c79c1e65d2b12d472fb30a0c57b879493a19daa5ba0ef62f1"  # SHA-256 of list.toml


def finding(check: str, **more: object) -> dict:
    return {"check": check, "cause": "so", "follows_from": None, **more}


def record(id: str, causes: list[str], others: list[str] = [], healthy: bool = False, **more: object) -> dict:  # noqa: B006
    scores = {"reached": 0.9} if healthy else {"harmed": 0.5, "sound": 0.9, "measure": "accuracy"}
    base = {"key": id, "id": id, "seed": 1, "healthy": healthy, "training": 1.0, "doctor": 2.0}
    return {**base, **scores, "causes": causes, "others": others, **more}


def test_the_list_is_as_it_was_frozen() -> None:
    assert hashlib.sha256((HERE / "list.toml").read_bytes()).hexdigest() == FROZEN_SHA256


def test_each_mistake_is_unique_and_cited_and_has_a_case() -> None:
    ids = [one.id for one in mistakes()]
    assert len(ids) == len(set(ids)) >= 40
    assert set(CASES) == set(ids)
    assert all(one.url.startswith("https://") and one.source and one.cause for one in mistakes())
    assert all(isinstance(right_names(one.kind), frozenset) for one in mistakes())
    assert len(HEALTHY) >= 50


@pytest.mark.parametrize(
    ("kind", "causes", "others", "expected"),
    [
        ("momentum", ["momentum-too-high"], [], "named"),
        ("momentum", ["dead-units", "momentum-too-high"], [], "named"),
        ("momentum", ["dead-units"], ["momentum-too-high"], "wrong cause"),
        ("momentum", ["underfitting", "dead-units"], [], "wrong cause"),
        ("momentum", ["underfitting"], ["dead-units"], "symptom only"),
        ("momentum", [], ["dead-units"], "symptom only"),
        ("momentum", [], [], "nothing"),
        ("capacity", ["underfitting"], [], "named"),
        ("pixels-scrambled", ["leakage"], [], "wrong cause"),
    ],
)
def test_verdict_by_the_names_of_causes(kind: str, causes: list[str], others: list[str], expected: str) -> None:
    assert verdict(Mistake("a", "b", "c", kind, "d", "e"), causes, others) == expected


def test_consequences_and_symptoms_are_no_causes() -> None:
    names = read_diagnosis(
        {
            "findings": [
                finding("leakage"),
                finding("overfitting", follows_from="leakage", cause=None),
                finding("dead-units", symptom=True),
                finding("useless-maps", established=False),
                finding("faulty-network", kind="part"),
                finding("leakage"),
            ]
        }
    )
    assert names == NamedChecks(("leakage",), ("overfitting", "dead-units", "useless-maps", "faulty-network"))


CORRECT_LAYERS = [
    MySoftmax(), MySoftmax(0), MyLogSoftmax(), MyLogSoftmax(0), MySigmoid(), MyFlatten(), MyFlatten(mixed=True),
    UnitLength(), MyDense(3), MyDropout(0.5),
]  # fmt: skip


@pytest.mark.parametrize("layer", CORRECT_LAYERS, ids=repr)
def test_correct_layers_have_autograds_gradients(layer: Layer) -> None:
    x = torch.randn(4, 6, dtype=torch.float64) if isinstance(layer, MyDense) else torch.randn(4, 3, 2, 2).double()
    dx, expected = gradients(layer, x)
    torch.testing.assert_close(dx, expected)


@pytest.mark.parametrize("layer", [MySigmoid(wrong=True), Detached()], ids=repr)
def test_wrong_layers_have_other_gradients(layer: Layer) -> None:
    dx, expected = gradients(layer, torch.randn(4, 3, 2, 2).double())
    assert not torch.allclose(dx, expected)


def gradients(layer: Layer, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    params, _ = layer.init(tuple(x.shape[1:]), torch.Generator().manual_seed(0))
    params = {name: value.double() for name, value in params.items()}
    x.requires_grad_()
    y, cache = layer.forward(params, x, Mode(train=True, rng=torch.Generator().manual_seed(1)))
    dy = torch.randn_like(y)
    (expected,) = torch.autograd.grad((y * dy).sum(), x)
    with torch.no_grad():
        return layer.backward(params, cache, dy)[0], expected


def test_rounding_has_a_gradient_of_0() -> None:
    assert Rounded().backward({}, None, torch.ones(2, 3))[0].eq(0).all()


@pytest.mark.parametrize(
    ("loss", "outputs", "target"),
    [
        (PickedLoss(), 4, torch.tensor([0, 3, 1])),
        (ClippedCrossEntropy(1.0), 4, torch.tensor([0, 3, 1])),
        (PairwiseSquares(), 1, torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)),
    ],
    ids=repr,
)
def test_losses_have_autograds_gradients(loss: Loss, outputs: int, target: torch.Tensor) -> None:
    y = (2 * torch.randn(3, outputs, dtype=torch.float64)).requires_grad_()
    value, dy = loss.compute(y, target)
    (expected,) = torch.autograd.grad(value, y)
    torch.testing.assert_close(dy.detach(), expected)


def test_gradients_accumulate() -> None:
    optimizer, param = Accumulating(0.1), torch.zeros(1)
    state = optimizer.init([param])
    for _ in range(3):
        optimizer.update([param], [torch.ones(1)], state, 0.1)
    assert param.item() == pytest.approx(-0.1 * (1 + 2 + 3))


def test_a_warmup_of_integers_is_0_until_its_end() -> None:
    assert [IntegerWarmup(3).at(Progress(step, 5, 5)) for step in range(5)] == [0, 0, 0, 1, 1]


def test_arrows_point_in_the_direction_of_their_class() -> None:
    data = arrows(400, 0)
    inner = data.x[:, 0]
    mean = [inner[data.y == k].mean(0) for k in range(4)]
    assert mean[0][:, :8].sum() > mean[0][:, 8:].sum()  # the head is at the left
    assert mean[1][:, :8].sum() < mean[1][:, 8:].sum()
    assert mean[2][:8].sum() > mean[2][8:].sum()
    assert mean[3][:8].sum() < mean[3][8:].sum()


def test_frames_of_a_clip_lie_side_by_side() -> None:
    small_part, _ = split(parts("digits", 0)[0], 0.99, 0)
    clips = frames(small_part, 4, 0)
    assert len(clips) == 4 * len(small_part)
    assert clips.y.view(-1, 4).eq(small_part.y[:, None]).all()


def test_jobs_are_planned_by_seed() -> None:
    jobs = plan_jobs(["a", "b"], [5, 6], len(HEALTHY) + 1, only_some=False)
    assert [job.key for job in jobs[:4]] == ["mistake|a|5", "mistake|b|5", "mistake|a|6", "mistake|b|6"]
    assert [job.seed for job in jobs[4:]] == [5] * len(HEALTHY) + [6]
    assert len({job.key for job in jobs}) == len(jobs)
    assert len(plan_jobs(["a"], [5], None, only_some=True)) == 1


def test_the_page_counts_verdicts(tmp_path: Path) -> None:
    records = [
        record("high-momentum", ["momentum-too-high"]),
        record("tight-clipping", ["dead-units"]),
        record("large-epsilon", ["underfitting"], sound=0.51),
        record("norm-of-zero", []) | {"error": "E: no"},
        record("tanh", [], healthy=True),
        record("ELU", ["leakage"], healthy=True),
        record("GELU", [], ["overfitting"], healthy=True),
        record("L1", [], healthy=True),
    ]
    report.write(records, tmp_path, "command", "machine", "code")
    page = (tmp_path / "mistakes.md").read_text("utf-8")
    assert "| mistakes | 4 | 25.0 % | 4.6 to 69.9 % | 0.0 % | 25.0 % | 25.0 % | 25.0 % | 4 | 25.0 % | 50.0 % |" in page
    assert "Cost less than 0.02: large-epsilon (seed 1)." in page
    page_json = json.loads((tmp_path / "mistakes.json").read_text("utf-8"))
    assert page_json["mistakes"] == {"cases": 4, "named": 1, "wrong cause": 1, "symptom only": 1, "error": 1}
    assert page_json["healthy"] == {"cases": 4, "with_a_cause": 1, "with_any_finding": 2}


def test_a_mistake_is_made_examined_and_does_harm() -> None:
    result = run_job(Job("integer-warmup", 1))
    assert result["harmed"] < 0.3
    assert result["sound"] > 0.9
    assert set(result) >= {"causes", "others", "training", "doctor"}


def test_a_healthy_training_learns_and_is_examined() -> None:
    result = run_job(Job("numbers, Huber loss", 1, healthy=True))
    assert result["reached"] > 0.8
    assert set(result) >= {"causes", "others"}
