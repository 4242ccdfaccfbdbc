import click
@click.command()
def generate():
    "x"
