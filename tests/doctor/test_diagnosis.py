"""A diagnosis as groups, text and HTML."""

from dataclasses import replace
from html.parser import HTMLParser

from pellucid.doctor.attempts import Attempt
from pellucid.doctor.diagnosis import footnote, grouped, headline, outcome, shown, summary, without_effect
from pellucid.doctor.intervention import MeasuredEffect
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
    assert headline(ill()) == "1 cause, 1 likely cause and 2 consequences, found by 12 checks"
    assert headline(healthy()) == "nothing wrong was found by 12 checks"
    assert footnote(ill()) == ""
    assert footnote(healthy()) == "skipped: learning-rate, update-ratio (nobody knows how)"


def test_outcomes() -> None:
    assert outcome(ill().attempts[0]) == (
        "a tenth of the learning rate: loss stopped with NaN → 0.25, accuracy stopped with NaN → 87.5 % "
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


SAID = """\
Go slower & start lower. Measured: a tenth of the learning rate: loss stopped with NaN → 0.25,
accuracy stopped with NaN → 87.5 % (validation data, after 150 steps from the beginning)

1 cause, 1 likely cause and 2 consequences, found by 12 checks

learning-rate
  where        training
  loss at it       2.31
  best factor       0.1
  steps           1,250
  cause  the steps are <large>
  fix    go slower & start lower
  tried  a tenth of the learning rate: loss stopped with NaN → 0.25, accuracy stopped with NaN →
         87.5 % (validation data, after 150 steps from the beginning)

    dead-units, which goes away with learning-rate
      where        dead  share
      block.relu1    20  0.667
      relu2           3      1

        useless-maps, which may follow from dead-units
          where  conv
          maps      2

duplicates
  where        train
  copies          −3
  why     same-bytes
  likely cause  a file came twice
  fix    remove it"""  # noqa: RUF001


def test_diagnosis_of_a_whole_training() -> None:
    assert str(ill()) == SAID


def test_a_healthy_model_gets_one_line() -> None:
    line, empty, note = str(healthy()).split("\n")
    assert (line, empty) == ("nothing wrong was found by 12 checks", "")
    assert note == "skipped: learning-rate, update-ratio (nobody knows how)"


def test_notes_stand_above_the_findings() -> None:
    lines = str(replace(ill(), notes=("nothing was trained", "go on"))).split("\n")
    assert lines[3:10] == [SAID.splitlines()[3], "", "nothing was trained", "", "go on", "", "learning-rate"]


def mended() -> MeasuredEffect:
    return MeasuredEffect("learning-rate", "a lower rate", "recall", (0.25,), (0.75,), 0.4, 0.6, "cause", 40, 0)


def test_the_first_sentence_names_the_change_and_what_it_gave() -> None:
    useless = replace(mended(), name="x", does="no clipping", after=(0.25,), low=-0.01, high=0.01, verdict="no effect")
    found = replace(ill(), effects=(useless, mended()))
    assert summary(found) == (
        "Go slower & start lower. Measured: a lower rate: recall 0.25 → 0.75 (gain 0.40 to 0.60, 40 held-out examples)"
    )
    assert without_effect(found) == (
        "tried, no effect: no clipping: recall 0.25 → 0.25 (gain -0.01 to 0.01, 40 held-out examples)"
    )
    lines = str(found).split("\n\n")
    assert lines[0].startswith("Go slower & start lower. Measured: a lower rate")
    assert lines[-1].startswith("tried, no effect: no clipping")
    assert found.to_json()["summary"] == summary(found)
    assert [effect["verdict"] for effect in found.to_json()["effects"]] == ["no effect", "cause"]
    assert any("a lower rate: recall" in text for _, text in Reader(found._repr_html_()).said)
    assert summary(healthy()) == without_effect(healthy()) == ""


class Reader(HTMLParser):
    """Keep the text, with the tags that are open around it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.said: list[tuple[int, str]] = []  # how many sections are around it
        self.feed(text)
        assert not self.open, "every tag is closed"

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open and data.strip():
            self.said.append((self.open.count("section"), data))


def test_text_has_findings_in_order() -> None:
    said = Reader(ill()._repr_html_()).said
    assert (0, "1 cause, 1 likely cause and 2 consequences, found by 12 checks") in said
    assert [text for depth, text in said if depth == 1 and text in ("learning-rate", "duplicates")]
    assert {(2, "dead-units"), (2, "block.relu1"), (2, "0.667"), (3, "useless-maps")} <= {*said}
    assert {(1, "the steps are <large>"), (1, "\u22123")} <= {*said}
    assert any(depth == 1 and text.startswith("a tenth of the learning rate: loss") for depth, text in said)


def test_what_comes_from_outside_cannot_be_markup() -> None:
    assert "<large>" not in replace(ill(), notes=("so <large>",))._repr_html_()
    assert "<script" not in ill()._repr_html_()
    assert "go slower &amp; start lower" in ill()._repr_html_()


def test_health_is_one_line_of_html() -> None:
    texts = [text for _, text in Reader(healthy()._repr_html_()).said]
    assert texts[0] == "nothing wrong was found by 12 checks"
    assert len(texts) == 2  # and what was skipped


def test_of_a_consequence_neither_cause_nor_fix_is_reported() -> None:
    said = [text for _, text in Reader(ill()._repr_html_()).said]
    assert (said.count("cause"), said.count("likely cause"), said.count("fix")) == (1, 1, 2)
    assert any("goes away with learning-rate" in text for text in said)
    assert any("may follow from dead-units" in text for text in said)
    assert not {"their bias fell", "see above"} & {*said}


def test_notes_stand_above_the_findings_in_html() -> None:
    said = [text for _, text in Reader(replace(ill(), notes=("nothing was trained",))._repr_html_()).said]
    assert said.index("nothing was trained") < said.index("learning-rate")
