"""The one place where a prompt's template is filled in."""

from fgl_flower.config import PromptConfig


def class_prompt(config: PromptConfig, label: str, style: str = "") -> str:
    """Return the prompt of a class in a style by `prompt-template`; without a style by `class-template`."""
    return fill(config.prompt_template if style else config.class_template, label, style)


def caption_prompt(config: PromptConfig, label: str, style: str, caption: str) -> str:
    """Return the prompt of a caption by `instance-template`; a caption or style that is missing leaves no comma."""
    parts = (fill(part, label, style, caption).strip() for part in config.instance_template.split(","))
    return ", ".join(part for part in parts if part)


def fill(template: str, label: str, style: str, caption: str = "") -> str:
    """Return a template with ``{class}``, ``{style}`` and ``{caption}`` filled in."""
    return template.format(**{"class": label, "style": style, "caption": caption})
