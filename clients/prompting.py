"""What a client says of its images in the prompt round."""

from collections import Counter

from clients.captions import captions, chosen, count, names, texts
from clients.data import Client
from clients.embedding import mean_embeddings
from clients.inversion import learned_tokens
from fgl_flower.payload import PromptPayload


def prompts(client: Client) -> PromptPayload:
    """Return the payload of a client at the level its run asks for.

    - ``names``: nothing at all; the server knows the class names anyway (the control).
    - ``class``: one prompt for each class that it holds, with the number of its images.
    - ``class-style``: one for each class and style that it holds together. An image of unknown style gets the class
      prompt.
    - ``instance``: one for each image from its caption; identical ones travel once, with a count.
    - ``embeddings``: the means of the captions' text embeddings (`clients.embedding`).
    - ``tokens``: words that the frozen generator learned from the images (`clients.inversion`).
    """
    level = client.config.prompt_level
    if level == "names" or not len(client.dataset):
        return PromptPayload(client.partition)
    labels, domains = names(client, client.dataset)
    counts = dict(Counter(labels))
    if level == "embeddings":
        found, arrays = mean_embeddings(client)
        return PromptPayload(client.partition, found, counts, kind="embeddings", arrays=arrays)
    if level == "tokens":
        found, arrays = learned_tokens(client)
        return PromptPayload(client.partition, found, counts, kind="tokens", arrays=arrays)
    if level == "instance":
        dataset = chosen(client, client.dataset)
        labels, domains = names(client, dataset)
        told = texts(client.config, captions(client, dataset), labels, domains)
    else:
        domains = domains if level == "class-style" else [""] * len(labels)
        told = [_text(client, label, domain) for label, domain in zip(labels, domains, strict=True)]
    return PromptPayload(client.partition, count(told, labels, domains), counts)


def _text(client: Client, label: str, domain: str) -> str:
    template = client.config.prompt_template if domain else client.config.class_template
    return template.format(**{"class": label, "style": domain})
