"""Give the doctor the listed change of mistakes that it did not name: `python -m benchmarks.causes.with_listed_change`.

The change, that is the sound twin of the mistaken training, is measured as each of the doctor's interventions: in pairs
of trainings, scored on held-out examples, within the default budget. Mistakes that this proves are not named only
because the doctor has no such change; the others are not, because pairs of short trainings do not show them.
"""

import argparse
import os
import sys
import tomllib
from collections import Counter

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before PyTorch is imported

from typing import Any

from benchmarks.causes.cases import later_cases
from benchmarks.causes.fit import Fit, Pair, Ran
from benchmarks.causes.listed import HERE, LATER_LISTS
from pellucid.base.errors import PellucidError
from pellucid.doctor import case_of
from pellucid.doctor.finding import suspect
from pellucid.doctor.paired import PairedTrainings
from pellucid.task import task_of


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.causes.with_listed_change", description=__doc__)
    parser.add_argument("--list", choices=LATER_LISTS, nargs="+", default=LATER_LISTS[-2:], help="of mistakes")
    parser.add_argument("--seed", type=int, default=0, help="of the data and the training (0)")
    args = parser.parse_args()
    judgements = tomllib.loads((HERE / "judged.toml").read_text("utf-8"))
    verdict_counts = Counter[str]()
    for list_name in args.list:
        for id, case in later_cases(list_name).items():
            if (judged := judgements[list_name][id]) != "named":
                verdict = verdict_on_listed_change(case(args.seed))
                verdict_counts[verdict.partition(":")[0]] += 1
                print(f"{id:40} {judged:8} {verdict}", flush=True)
    print(", ".join(f"{count} {verdict}" for verdict, count in verdict_counts.most_common()))
    return 0


def verdict_on_listed_change(pair: Pair) -> str:
    """Return the doctor's verdict on the change from the mistaken to the sound training, and the measured effect."""
    try:
        base = doctor_case(pair.mistaken, pair.mistaken.run())
        sound = doctor_case(pair.sound, Ran(pair.sound.begin(), None, None))
        if len(sound.validation) != len(base.validation):
            return "not measured: other validation examples"
        trainings = PairedTrainings(task_of(base.model), base, lambda text: None)
        change = suspect("listed", "", "", "the listed change", lambda case: sound)
        trainings.measure(base, change, {}, trainings.max_steps)
    except PellucidError as error:
        return f"not measured: {error}"
    return f"{trainings.effects[0].verdict}: {trainings.effects[0]}" if trainings.effects else "not measured: no pair"


def doctor_case(fit: Fit, ran: Ran) -> Any:
    """Return the doctor's case of a training."""
    options = {
        "validation": fit.validation, "history": ran.history, "batch_size": fit.batch_size, "epochs": fit.epochs,
        "augment": fit.augment, "begin": fit.begin, "stopped": ran.stopped or "",
    }  # fmt: skip
    case = task_of(ran.model).case(ran.model, fit.train, None, options)
    return case_of(ran.model, fit.train, **options) if case is None else case


if __name__ == "__main__":
    sys.exit(main())
