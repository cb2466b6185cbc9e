"""Text made safe for HTML, and quantities for people."""

import html
import re

from components.words.glossary import GLOSSARY, LESSONS

# Control characters, and those that turn the direction of what follows: a name could hide behind them.
_UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def escape(text: object) -> str:
    """Text made safe for HTML, also inside a widget's template, where ${…} would be run; what hides text shows as �."""
    shown = html.escape(_UNSEEN.sub("�", str(text)))
    return shown.replace("$", "&#36;").replace("{", "&#123;").replace("}", "&#125;")


def term(name: str, shown: str | None = None) -> str:
    """A term with its explanation at hand."""
    return f'<abbr tabindex="0" title="{escape(GLOSSARY[name])}">{escape(shown or name)}</abbr>'


def size(count: float) -> str:
    """Bytes for people, for example 13.8 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return ""


def seconds(value: float) -> str:
    """A duration for people, for example 1 min 20 s."""
    if round(value) < 60:
        return f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def reading(sentence: str, lesson: str = "") -> str:
    """A sentence that reads a figure aloud, and a link to the step of the lesson that explains what it shows."""
    return f'<p class="reading">{sentence}{lesson_link(lesson) if lesson else ""}</p>'


def lesson_link(step: str) -> str:
    """A link to a step of the lesson, which opens beside the page, so that no result is lost."""
    return f' <a class="lesson-link" href="?step={step}" target="_blank">{LESSONS[step]}</a>'
