"""The app's look: a Gradio theme with system fonts, so that nothing is fetched from outside."""

import gradio as gr
from gradio.themes.utils.colors import Color

TEAL = Color(
    name="teal",
    c50="#eefaf8",
    c100="#d3f1ec",
    c200="#a9e2da",
    c300="#73ccc2",
    c400="#41afa5",
    c500="#1f938a",
    c600="#0f766e",
    c700="#0e5f59",
    c800="#104c48",
    c900="#113f3c",
    c950="#042524",
)
INK = Color(
    name="ink",
    c50="#f7f8fa",
    c100="#eef0f4",
    c200="#dfe3ea",
    c300="#c6ccd7",
    c400="#98a1b1",
    c500="#6b7587",
    c600="#505a6c",
    c700="#3a4353",
    c800="#232a37",
    c900="#171c26",
    c950="#0e1219",
)
FONT = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif"]
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]


def theme() -> gr.themes.Base:
    """Teal on cool greys, light and dark."""
    return gr.themes.Base(
        primary_hue=TEAL,
        secondary_hue=TEAL,
        neutral_hue=INK,
        font=FONT,
        font_mono=MONO,
        radius_size=gr.themes.sizes.radius_md,
        spacing_size=gr.themes.sizes.spacing_md,
    ).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        background_fill_primary="white",
        background_fill_primary_dark="*neutral_900",
        block_background_fill="white",
        block_background_fill_dark="*neutral_900",
        block_border_width="1px",
        block_border_color="*neutral_200",
        block_border_color_dark="*neutral_800",
        border_color_primary="*neutral_200",
        border_color_primary_dark="*neutral_800",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_shadow="none",
        block_label_text_weight="600",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_700",
        button_primary_text_color="white",
        link_text_color="*primary_700",
        link_text_color_dark="*primary_300",
    )
