import click
@click.command()
def kl():
    "x"
