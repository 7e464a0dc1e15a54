"""`pellucid completion`: complete commands, options, recipes and models in a shell."""

import argparse
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path

from pellucid import shipped_files
from pellucid.command.args import Actions, Parser
from pellucid.command.out import print_result

BASH = """\
_pellucid() {
  local IFS=$'\\n'
  COMPREPLY=($(pellucid completion words --line="${COMP_WORDS[*]:0:COMP_CWORD+1}" 2>/dev/null))
}
complete -o default -o bashdefault -F _pellucid pellucid"""
FISH = """\
function _pellucid
  set -l words (commandline -opc) (commandline -ct)
  pellucid completion words --line=(string join \\n -- $words | string collect -N) 2>/dev/null
end
complete -c pellucid -a '(_pellucid)'"""
SCRIPTS = {"bash": BASH, "zsh": f"autoload -Uz bashcompinit && bashcompinit\n{BASH}", "fish": FISH}
RUNS_FOLDER = "runs"  # the default parent of run folders


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser(
        "completion",
        "Print what a shell runs to complete commands, options, recipes, models and run folders. In ~/.bashrc: "
        'eval "$(pellucid completion bash)".',
    )
    parser.add_argument("shell", choices=[*SCRIPTS, "words"], help="a shell; words: what its script asks for")
    parser.add_argument("--line", metavar="TEXT", default="pellucid\n", help="the command line, one word on each line")
    return parser.json_flag()


def handle(args: argparse.Namespace) -> int:
    """Print the script for a shell, or the completions of the last word."""
    if args.shell == "words":
        completions = completions_of(args.line.split("\n")[1:] or [""])
        print_result(args, {"words": completions}, *completions)
    else:
        print_result(args, {"script": SCRIPTS[args.shell]}, *SCRIPTS[args.shell].split("\n"))
    return 0


def completions_of(words: Sequence[str]) -> list[str]:
    """Return the completions of the last of the words after `pellucid`; [] where a file name is expected."""
    *previous_words, prefix = words
    return sorted({name for name in _possible_words(previous_words, prefix) if name.startswith(prefix)})


def _possible_words(previous_words: Sequence[str], prefix: str) -> Iterable[str]:
    """Return the words that may follow previous words; prefix: the beginning of the next word."""
    from pellucid.cli.main import commands

    commands_by_name = commands()
    if not previous_words or previous_words[0] not in commands_by_name:
        return () if previous_words else (*commands_by_name, "--help", "--version")
    parser: Parser | Actions = import_module(commands_by_name[previous_words[0]].module).parser()
    if isinstance(parser, Actions):
        if len(previous_words) == 1 or previous_words[1] not in parser.actions:
            return parser.actions if len(previous_words) == 1 else ()
        parser = parser.actions[previous_words[1]].parser()
    options = {name: action for action in parser._actions for name in action.option_strings}
    if previous_words[-1] in options and options[previous_words[-1]].nargs != 0:
        return ()
    if prefix.startswith("-"):
        return options
    words: list[str] = []
    if any(action.metavar == "MODEL" for action in parser._actions):
        words += [*shipped_files.pretrained_names(), *(str(run) for run in sorted(Path(RUNS_FOLDER).glob("*")))]
    return (
        [*words, *shipped_files.recipe_names()]
        if previous_words[0] in ("train", "recipes", "find-lr", "sweep")
        else words
    )
