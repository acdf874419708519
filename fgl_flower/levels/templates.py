"""The one place where a prompt's template is filled in."""

from fgl_flower.config import PromptConfig


def class_prompt(config: PromptConfig, label: str, domain: str = "") -> str:
    """Return the prompt of a class in a domain by `prompt-template`; without a domain by `class-template`."""
    return fill(config.prompt_template if domain else config.class_template, label, domain)


def caption_prompt(config: PromptConfig, label: str, domain: str, caption: str) -> str:
    """Return the prompt of a caption by `instance-template`; a caption or domain that is missing leaves no comma."""
    parts = (fill(part, label, domain, caption).strip() for part in config.instance_template.split(","))
    return ", ".join(part for part in parts if part)


def fill(template: str, label: str, domain: str, caption: str = "") -> str:
    """Return a template with ``{class}``, ``{style}`` and ``{caption}`` filled in."""
    return template.format(**{"class": label, "style": domain, "caption": caption})
