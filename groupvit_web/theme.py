"""Colours, fonts and styles of the page; all of it is served from the package."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
from gradio.themes.utils import colors

STATIC = Path(__file__).resolve().parent / 'static'
SYSTEM_FONTS = ('ui-sans-serif', 'system-ui', 'sans-serif')
MONOSPACE_FONTS = ('ui-monospace', 'monospace')


def static_text(name: str) -> str:
    """Return the text of a file in ``static``."""
    return (STATIC / name).read_text(encoding='utf-8')


def page_theme() -> gr.themes.Base:
    """Return the theme: fonts of the system, and colours with enough contrast in both schemes."""
    theme = gr.themes.Base(
        primary_hue=colors.teal,
        secondary_hue=colors.teal,
        neutral_hue=colors.slate,
        font=SYSTEM_FONTS,
        font_mono=MONOSPACE_FONTS,
        radius_size=gr.themes.sizes.radius_md,
    )
    return theme.set(
        body_background_fill='*neutral_50',
        body_background_fill_dark='*neutral_950',
        block_background_fill='white',
        block_background_fill_dark='*neutral_900',
        block_border_width='0px',
        block_shadow='none',
        block_label_text_color='*neutral_700',
        block_label_text_color_dark='*neutral_200',
        block_title_text_color='*neutral_800',
        block_title_text_color_dark='*neutral_100',
        block_info_text_color='*neutral_600',
        block_info_text_color_dark='*neutral_300',
        body_text_color_subdued='*neutral_600',
        body_text_color_subdued_dark='*neutral_300',
        input_placeholder_color='*neutral_500',
        input_placeholder_color_dark='*neutral_400',
        input_border_width='1px',
        input_border_color='*neutral_400',
        input_border_color_dark='*neutral_600',
        button_primary_background_fill='*primary_700',
        button_primary_background_fill_hover='*primary_800',
        button_primary_background_fill_dark='*primary_300',
        button_primary_background_fill_hover_dark='*primary_200',
        button_primary_text_color='white',
        button_primary_text_color_dark='*neutral_950',
        button_secondary_background_fill='*neutral_200',
        button_secondary_background_fill_dark='*neutral_700',
        slider_color='*primary_700',
        slider_color_dark='*primary_300',
        link_text_color='*primary_700',
        link_text_color_dark='*primary_300',
        checkbox_background_color_selected='*primary_700',
        checkbox_background_color_selected_dark='*primary_600',
    )


def page_head() -> str:
    """Return what is added to the page's head: styles, and the script that takes dropped files.

    Gradio rewrites the styles of ``launch(css=...)``: rules for the body or for its own container
    would match nothing there.
    """
    return (
        '<meta name="description" content="Segment pictures with any words.">'
        '<meta name="color-scheme" content="light dark">'
        f'<style>{static_text("frame.css")}</style>'
        f'<script>{static_text("drop.js")}</script>'
    )
