import click
@click.command()
def figures():
    "x"
