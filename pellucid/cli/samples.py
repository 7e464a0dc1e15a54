"""`pellucid samples`: write sample pictures and folders to train on, without a download."""

import argparse
from pathlib import Path

from pellucid.base.text import plural
from pellucid.command.args import Parser
from pellucid.command.out import print_result


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser(
        "samples",
        "Write sample pictures for the shipped models, and small annotated folders to train on: photos and digits of "
        "scikit-learn, and drawn pictures. Nothing is downloaded.",
    )
    parser.add_argument("folder", metavar="DIR", help="a new or empty folder")
    return parser.json_flag()


def handle(args: argparse.Namespace) -> int:
    """Write the samples, and print the command to try on each."""
    from pellucid.data.samples.files import command_for, write_samples

    folder = Path(args.folder)
    samples = write_samples(folder)
    rows = [
        {
            "path": str(folder / sample.name),
            "about": sample.about,
            "drawn": sample.is_drawn,
            "command": command_for(sample, folder),
        }
        for sample in samples
    ]
    lines = [line for row in rows for line in (f"{row['path']}: {row['about']}", f"  {row['command']}")]
    last_line = f"wrote {plural(len(rows), 'sample')} into {folder}"
    print_result(args, {"folder": str(folder), "samples": rows}, *lines, last_line)
    return 0
