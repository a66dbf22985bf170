"""`python -m edgetwin` is the command `edgetwin`."""

from edgetwin.cli import command

command()
