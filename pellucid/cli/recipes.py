"""`pellucid recipes`: list the built-in recipes, or print one."""

import argparse

from pellucid.cli.args import Parser


def parser() -> Parser:
    """Return the parser of this command."""
    it = Parser("recipes", "List the built-in recipes, or print one.")
    it.add_argument("name", nargs="?", metavar="NAME", help="print the TOML of this recipe")
    return it.json_flag()


def handle(args: argparse.Namespace) -> int:
    """Print the list, or one recipe."""
    import tomllib

    from pellucid import assets
    from pellucid.cli.out import emit

    if args.name is not None:
        text = assets.recipe_file(args.name).read_text(encoding="utf-8")
        if args.json:
            emit({"name": args.name, "recipe": tomllib.loads(text)})
        else:
            print(text.rstrip())
        return 0
    abouts = assets.recipe_abouts()
    if args.json:
        emit({"recipes": [{"name": name, "about": about} for name, about in abouts.items()]})
        return 0
    width = max(map(len, abouts), default=0)
    for name, about in abouts.items():
        print(f"{name:<{width}}  {about}")
    return 0
