import click
@click.command()
def loss():
    "x"
