"""`app`: the page in the browser."""

import importlib.util
import os
import runpy
import sys
from typing import Annotated

import typer

from eggs_core.errors import EggsError

HOST, PORT = "GRADIO_SERVER_NAME", "GRADIO_SERVER_PORT"  # what gradio reads, and `python app.py` with it
NEEDED = ("gradio", "plotly", "pandas")


def app(
    host: Annotated[
        str, typer.Option(envvar=HOST, help="The address to listen on; 0.0.0.0 lets other machines in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar=PORT, min=1, max=65535, help="The port to listen on.")] = 7860,
) -> None:
    """Open EGGS Explorer: the same core, as a page in the browser."""
    from eggs_core.assets import ROOT, install_command

    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise EggsError(f"The page needs {missing[0]}, which is not installed: {install_command('app')}.")
    os.environ |= {HOST: host, PORT: str(port)}
    sys.path.insert(0, str(ROOT))  # as `python app.py` does: the page's own modules lie beside it
    runpy.run_path(str(ROOT / "app.py"), run_name="__main__")
