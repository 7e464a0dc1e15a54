"""The diagnosis in a terminal, letter by letter."""

from dataclasses import replace

from pellucid.doctor.text import told
from tests.doctor.told import healthy, ill

SAID = """\
2 causes and 2 consequences, found by 12 checks

learning-rate
  where        training
  loss at it       2.31
  best factor       0.1
  steps           1,250
  cause  the steps are <large>
  fix    go slower & start lower
  tried  a tenth of the learning rate: loss broke off → 0.25, accuracy broke off → 87.5 %
         (validation data, after 150 steps from the beginning)

    dead-units, which goes away with learning-rate
      where        dead  share
      block.relu1    20  0.667
      relu2           3      1

        useless-maps, which goes away with dead-units
          where  conv
          maps      2

duplicates
  where        train
  copies          −3
  why     same-bytes
  cause  a file came twice
  fix    remove it"""  # noqa: RUF001


def test_the_whole() -> None:
    assert told(ill()) == SAID
    assert str(ill()) == SAID


def test_a_healthy_model_gets_one_line() -> None:
    line, empty, note = told(healthy()).split("\n")
    assert (line, empty) == ("nothing wrong was found by 12 checks", "")
    assert note == "not asked: learning-rate, update-ratio (nobody knows how)"


def test_notes_stand_above_the_findings() -> None:
    lines = told(replace(ill(), notes=("nothing was trained", "go on"))).split("\n")
    assert lines[:7] == [SAID.splitlines()[0], "", "nothing was trained", "", "go on", "", "learning-rate"]
