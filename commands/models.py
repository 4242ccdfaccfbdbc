import click
@click.command()
def models():
    "x"
