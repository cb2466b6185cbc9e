"""The scripts that the page fetches once, apart from its configuration: those of all widgets, and plotly.js."""

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache, cached_property

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from eggs_core.assets import ASSETS

SCRIPTS = ASSETS / "js"
WIDGETS = (
    *("plot", "model_map", "mask_canvas", "cell_detail", "graph_canvas", "mask_bench"),
    *("plan_canvas", "plan_choices", "home", "computing"),
)
SHARED = ("downloads", "keyboard", "focus", "cell_grid", "living_mask")  # by several widgets, or by the page
KEPT = "public, max-age=31536000, immutable"  # by browsers, as another text has another address


@dataclass(frozen=True)
class Script:
    """A script with an address of its own."""

    name: str
    text: str

    @cached_property
    def address(self) -> str:
        """Where it is served, seen from the page; it changes with the text."""
        return f"eggs/{self.name}-{hashlib.sha256(self.text.encode()).hexdigest()[:12]}"

    @property
    def tag(self) -> str:
        """What puts it into a page; gradio adds it once and waits for it, however many widgets ask."""
        return f'<script src="{self.address}"></script>'

    @cached_property
    def compressed(self) -> bytes:
        """The text as it travels."""
        return gzip.compress(self.text.encode())

    def answer(self, request: Request) -> Response:
        """As a browser asks for it."""
        headers, body = {"Cache-Control": KEPT, "Vary": "Accept-Encoding"}, self.text.encode()
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers, body = headers | {"Content-Encoding": "gzip"}, self.compressed
        return Response(body, headers=headers, media_type="text/javascript")


def script(name: str) -> str:
    """The text of assets/js/<name>.js."""
    return (SCRIPTS / f"{name}.js").read_text(encoding="utf-8")


@cache
def plotly() -> Script:
    """The part of plotly.js that draws in two dimensions, a third of the whole; its version is the package's."""
    return Script("plotly", script("plotly-cartesian.min"))


@cache
def widgets() -> Script:
    """The keys of the page, and in `eggs` a function for each widget, which takes what a gr.HTML's script gets."""
    functions = (f"eggs.{name} = (element, trigger, props, watch) => {{\n{script(name)}\n}};" for name in WIDGETS)
    return Script("widgets", "\n".join(["var eggs = {};", *map(script, SHARED), *functions]))


@cache
def home_texts() -> Script:
    """The texts that Home shows, which only Home fetches."""
    return Script("home", f"const homeTexts = {(ASSETS / 'home.json').read_text(encoding='utf-8')};")


def on_load(name: str, event: str = "") -> str:
    """The script of one widget's gr.HTML; gradio looks in it for the quoted name of the event that the widget has."""
    return f"eggs.{name}(element, trigger, props, watch);" + (f" // '{event}'" if event else "")


def routes() -> list[Route]:
    """Where the scripts are served."""
    return [Route(f"/{one.address}", one.answer) for one in (plotly(), widgets(), home_texts())]
