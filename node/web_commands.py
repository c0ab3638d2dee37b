"""`overread web token`: who may use the web port."""

from __future__ import annotations

from typing import Annotated

import typer

from node import config as configuration
from node import screens
from node.errors import ConfigError
from node.options import DEFAULT_CONFIG, ConfigOption

app = typer.Typer(no_args_is_help=True, help="The web port.", rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """The web port."""


@app.command()
def token(
    name: Annotated[str, typer.Argument(help="Whose it is, such as ris; stands in the log.")],
    may: Annotated[str, typer.Option(help="What it may do: labels, reviews, metrics, or several with commas.")],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Make a token, print it once, and put its digest into the token file."""
    from node.web import tokens

    settings = configuration.load(config)
    path = settings.web.token_file
    if path is None:
        raise ConfigError("web.token-file", "is not set: name the file that is to hold who may do what")
    made = tokens.make(path, name, [right.strip() for right in may.split(",") if right.strip()])
    screens.err.print(
        f"the token of {name}; it is shown only now, {path} holds its digest:", markup=False, soft_wrap=True
    )
    print(made)
