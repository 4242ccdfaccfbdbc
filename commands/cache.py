"""`stepimp cache`: what is kept between runs, and how to be rid of it."""

import click

from ._options import json_option
from ._print import print_json, print_table, size


@click.group(invoke_without_command=True)
@json_option("Print what there is as JSON.")
@click.pass_context
def cache(ctx, as_json):
    """Show what is kept between runs, where, and how large it is.

    Text, tokens and timings of models: all of it is made again when it is needed. The folder is
    STEPIMP_CACHE, else stepimp/ in the user's cache folder.

    \b
    Example:
      stepimp cache
      stepimp cache clear
    """
    if ctx.invoked_subcommand:
        return
    from stepimp.text.cache import contents, user_folder

    folder, kinds = user_folder(), contents()
    total = sum(kind.bytes for kind in kinds)
    if as_json:
        counted = {kind.name: {"entries": kind.entries, "bytes": kind.bytes} for kind in kinds}
        return print_json({"folder": str(folder), "bytes": total, "contents": counted})
    rows = [[kind.name, str(kind.entries), size(kind.bytes)] for kind in kinds]
    if rows:
        print_table(str(folder), ["", "entries", "size"], rows)
    click.echo(f"{size(total)} in {folder}; stepimp cache clear empties it.")


@cache.command()
@json_option("Print what was removed as JSON.")
def clear(as_json):
    """Empty the cache; results and models are not in it.

    \b
    Example:
      stepimp cache clear
    """
    from stepimp.text.cache import clear, contents, user_folder

    total = sum(kind.bytes for kind in contents())
    clear()
    if as_json:
        return print_json({"folder": str(user_folder()), "removed_bytes": total})
    click.echo(f"Removed {size(total)} from {user_folder()}.")
