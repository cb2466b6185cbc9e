"""The lesson's steps in order; no gradio here."""

from components.places.learn.lesson.graph_steps import GRAPHS
from components.places.learn.lesson.model_steps import MODELS
from components.places.learn.lesson.score_steps import SCORES

STEPS = SCORES + GRAPHS + MODELS
KEYS = [step.key for step in STEPS]
