"""Findings of one kind stand together, consequences below their cause, and none is lost."""

from dataclasses import replace

from pellucid.doctor.attempt import Attempt
from pellucid.doctor.groups import footnote, grouped, headline, outcome, shown
from tests.doctor.told import healthy, ill


def test_the_tree() -> None:
    rate, copies = grouped(ill())
    assert (rate.first.check, copies.first.check) == ("learning-rate", "duplicates")
    (dead,) = rate.consequences
    assert [one.path for one in dead.findings] == ["block.relu1", "relu2"]
    rows = [("where", "dead", "share"), ("block.relu1", "20", "0.667"), ("relu2", "3", "1")]
    assert dead.tables(100) == [rows]
    assert dead.tables(23) == [[(a, b) for a, b in zip(rows[0], row, strict=True)] for row in rows[1:]]
    (turned,) = rate.tables(100)
    assert turned == [("where", "training"), ("loss at it", "2.31"), ("best factor", "0.1"), ("steps", "1,250")]
    assert [one.first.check for one in dead.consequences] == ["useless-maps"]
    assert not copies.consequences


def test_other_words_or_numbers_make_another_group_and_consequences_come_below_the_last() -> None:
    it = ill()
    more = replace(it.findings[0], cause="another one")
    findings, follows = (it.findings[0], more, *it.findings[1:]), {k + 1: name for k, name in it.follows.items()}
    (one, two, _) = grouped(replace(it, findings=findings, follows=follows))
    assert (len(one.consequences), len(two.consequences)) == (0, 1)
    moved = replace(it.findings[3], evidence={"dead": 3})
    (rate, _) = grouped(replace(it, findings=(*it.findings[:3], moved, it.findings[4])))
    assert [len(group.consequences) for group in rate.consequences] == [0, 1]


def test_the_words_of_consequences_which_are_not_said_make_no_groups() -> None:
    it = ill()
    moved = replace(it.findings[3], cause="another one")
    (rate, _) = grouped(replace(it, findings=(*it.findings[:3], moved, it.findings[4])))
    assert [len(group.findings) for group in rate.consequences] == [2]


def test_headlines_count_checks_not_layers() -> None:
    assert headline(ill()) == "2 causes and 2 consequences, found by 12 checks"
    assert headline(healthy()) == "nothing wrong was found by 12 checks"
    assert footnote(ill()) == ""
    assert footnote(healthy()) == "not asked: learning-rate, update-ratio (nobody knows how)"


def test_outcomes() -> None:
    assert outcome(ill().attempts[0]) == (
        "a tenth of the learning rate: loss broke off → 0.25, accuracy broke off → 87.5 % "
        "(validation data, after 150 steps from the beginning)"
    )
    long = replace(ill().attempts[0], planned=1250)
    assert outcome(long).endswith("(validation data, after 150 of 1,250 steps)")
    assert outcome(replace(long, planned=150)).endswith("(validation data, after all 150 steps of the training)")
    plain = Attempt("x", 1, (1.0, 0.5), (None, None), "train")
    assert outcome(plain) == "x: loss 1 → 0.5 (training data, after 1 step from the beginning)"


def test_numbers() -> None:
    found = [shown(it) for it in (1250, -3, 0.66666, -0.5, 1e-9, "a-b", float("inf"), True)]
    assert found == ["1,250", "\u22123", "0.667", "\u22120.5", "1e\u221209", "a-b", "inf", "yes"]
