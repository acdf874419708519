"""What a client says of its images in the prompt round."""

from collections import Counter

from clients.data import Client
from fgl_flower.payload import Prompt, PromptPayload


def prompts(client: Client) -> PromptPayload:
    """Return the payload of a client at the level its run asks for.

    - ``names``: nothing at all; the server knows the class names anyway (the control).
    - ``class``: one prompt for each class that it holds, with the number of its images.
    - ``class-style``: one for each class and style that it holds together. An image of unknown style gets the class
      prompt.
    """
    level = client.config.prompt_level
    if level == "names":
        return PromptPayload(client.partition)
    source, dataset = client.source, client.dataset
    labels = [source.classes[i] for i in dataset["label"]]
    if level == "class":
        domains = [""] * len(labels)
    else:
        domains = [source.domains[i] if i >= 0 else "" for i in dataset["domain"]]
    groups = Counter(zip(labels, domains, strict=True))
    return PromptPayload(
        client.partition,
        tuple(sorted(Prompt(_text(client, label, domain), label, domain, n) for (label, domain), n in groups.items())),
        dict(Counter(labels)),
    )


def _text(client: Client, label: str, domain: str) -> str:
    template = client.config.prompt_template if domain else client.config.class_template
    return template.format(**{"class": label, "style": domain})
