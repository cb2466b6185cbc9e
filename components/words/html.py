"""Text made safe for HTML, and the small pieces of HTML that all places use."""

import html
import re

from components.words.glossary import GLOSSARY, LESSONS, MEASURES

ARROW = '<span class="arrow" aria-label="becomes">→</span>'
# Control characters, and those that turn the direction of what follows: a name could hide behind them.
_UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def escape(text: object) -> str:
    """Text made safe for HTML, also inside a widget's template, where ${…} would be run; what hides text shows as �."""
    shown = html.escape(_UNSEEN.sub("�", str(text)))
    return shown.replace("$", "&#36;").replace("{", "&#123;").replace("}", "&#125;")


def term(name: str, shown: str | None = None) -> str:
    """A term with its explanation at hand."""
    return f'<abbr tabindex="0" title="{escape(GLOSSARY[name])}">{escape(shown or name)}</abbr>'


def heading(title: str, note: str = "") -> str:
    """The line above a part of a panel, with a quieter note beside it; both are HTML."""
    return f'<h2 class="panel">{title}{f" <span>{note}</span>" if note else ""}</h2>'


def hint(content: str, bad: bool = False, kind: str = "") -> str:
    """A small line of HTML; red if something is bad."""
    return f'<p class="hint{" bad" if bad else ""}{f" {kind}" if kind else ""}">{content}</p>'


def measure_hint(key: str) -> str:
    """A measure of a layer's report by its name, and what it means."""
    name = MEASURES[key][0]
    return hint(f"<b>{escape(name)}</b>: {escape(GLOSSARY[name])}")


def facts_line(content: str) -> str:
    """A very small line of HTML that says what figures were measured on."""
    return f'<p class="facts">{content}</p>'


def card(label: str, figures: str, note: str, tone: str = "") -> str:
    """A card: a label, large figures and a note, all HTML."""
    return (
        f'<div class="card {tone}"><div class="card-label">{label}</div>'
        f'<div class="card-figures">{figures}</div><div class="card-note">{note}</div></div>'
    )


def becomes(before: str, after: str) -> str:
    """A figure before and after, for a card."""
    return f'<span class="before">{before}</span>{ARROW}<span class="after">{after}</span>'


def mini(label: str, figures: str) -> str:
    """A small card: a label and figures, both HTML."""
    return f'<div class="mini"><div class="card-label">{label}</div>{figures}</div>'


def table(region: str, head: str, body: str) -> str:
    """A table of figures, which scrolls by itself; the region's name, the cells of the head and the rows are HTML."""
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{region}"><table class="timings">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def reading(sentence: str, lesson: str = "") -> str:
    """A sentence that reads a figure aloud, and a link to the step of the lesson that explains what it shows."""
    return f'<p class="reading">{sentence}{lesson_link(lesson) if lesson else ""}</p>'


def lesson_link(step: str) -> str:
    """A link to a step of the lesson, which opens beside the page, so that no result is lost."""
    return f' <a class="lesson-link" href="?step={step}" target="_blank">{LESSONS[step]}</a>'
