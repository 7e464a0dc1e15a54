"""`pellucid recipes`: list the built-in recipes, print one, or explain all keys of recipes."""

import argparse
import json

from pellucid import shipped_files
from pellucid.base.errors import PellucidError
from pellucid.base.text import table
from pellucid.command.args import Parser
from pellucid.command.out import print_result


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser("recipes", "List the built-in recipes, print one, or explain every key that a recipe may set.")
    parser.add_argument("name", nargs="?", metavar="NAME", help="print the TOML of this recipe")
    parser.add_argument("--keys", action="store_true", help="print every key with its type, default and meaning")
    parser.add_argument("--schema", action="store_true", help="print a JSON Schema of recipes, for editors")
    return parser.json_flag()


def handle(args: argparse.Namespace) -> int:
    """Print the list of recipes, one recipe, the keys, or the JSON Schema."""
    if args.schema:
        from pellucid.recipe.keys import recipe_schema

        if args.name is not None or args.keys:
            raise PellucidError("--schema describes every recipe; leave out its name and --keys")
        schema = recipe_schema()
        print_result(args, schema, *json.dumps(schema, indent=2).split("\n"))
    elif args.keys:
        from pellucid.recipe.keys import recipe_keys

        if args.name is not None:
            raise PellucidError(f"--keys explains the keys of every recipe; leave out {args.name!r}")
        key_tables = recipe_keys()
        text = "\n\n".join(map(str, key_tables))
        print_result(args, {"tables": [key_table.to_json() for key_table in key_tables]}, *text.split("\n"))
    elif args.name is not None:
        text, tables = shipped_files.read_recipe(args.name)
        print_result(args, {"name": args.name, "recipe": tables}, *text.rstrip().split("\n"))
    else:
        abouts = shipped_files.recipe_abouts()
        rows = [{"name": name, "about": about} for name, about in abouts.items()]
        print_result(args, {"recipes": rows}, *table([*abouts.items()]))
    return 0
