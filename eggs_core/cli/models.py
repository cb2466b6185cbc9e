"""`models`: the bundled models."""

import json

import typer

from eggs_core.cli.options import Json


def models(as_json: Json = False) -> None:
    """List the bundled models, which need no download."""
    from eggs_core.models.source import BUNDLED

    if as_json:
        typer.echo(json.dumps(BUNDLED, indent=1))
        return
    for name, text in BUNDLED.items():
        typer.echo(f"{name:12} {text}")
