import click
@click.command()
def recommend():
    "x"
