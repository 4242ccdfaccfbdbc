import click
@click.command()
def profile():
    "x"
