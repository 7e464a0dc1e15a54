"""`pellucid recipes`: list the built-in recipes, print one, or explain all keys of recipes."""

import argparse

from pellucid.cli.args import Parser


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser("recipes", "List the built-in recipes, print one, or explain every key that a recipe may set.")
    parser.add_argument("name", nargs="?", metavar="NAME", help="print the TOML of this recipe")
    parser.add_argument("--keys", action="store_true", help="print every key with its type, default and meaning")
    return parser.json_flag()


def handle(args: argparse.Namespace) -> int:
    """Print the list, one recipe, or the keys."""
    import tomllib

    from pellucid import assets
    from pellucid.cli.out import emit, say_text
    from pellucid.errors import PellucidError
    from pellucid.text import aligned

    if args.keys:
        from pellucid.recipe.keys import recipe_keys

        if args.name is not None:
            raise PellucidError(f"--keys explains the keys of every recipe; leave out {args.name!r}")
        tables = recipe_keys()
        if args.json:
            emit({"tables": [table.to_json() for table in tables]})
        else:
            say_text("\n\n".join(map(str, tables)))
        return 0
    if args.name is not None:
        text = assets.recipe_file(args.name).read_text(encoding="utf-8")
        if args.json:
            emit({"name": args.name, "recipe": tomllib.loads(text)})
        else:
            say_text(text.rstrip())
        return 0
    abouts = assets.recipe_abouts()
    if args.json:
        emit({"recipes": [{"name": name, "about": about} for name, about in abouts.items()]})
        return 0
    say_text(aligned([*abouts.items()]))
    return 0
