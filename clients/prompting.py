"""What a client says of its images in the prompt round."""

from collections import Counter

from flwr.app import ConfigRecord, RecordDict

from clients.captions import captions, chosen, count, names, texts
from clients.data import Client
from clients.digest import digest
from clients.embedding import mean_embeddings
from clients.inversion import learned_tokens
from fgl_flower.payload import HELD_KEY, PromptPayload, Unchanged

SPOKEN = "spoken-of"  # in the client's state: the data that it last spoke of, and in which round


def answer(client: Client, content: RecordDict, state: RecordDict) -> PromptPayload | Unchanged:
    """Return the client's payload or, where the server keeps one of the same data, word that nothing has changed.

    Parameters
    ----------
    client : Client
    content : RecordDict
        The question: in ``config``, ``server-round`` and the round of the payload that the server keeps, if it does.
    state : RecordDict
        Stays with the client from round to round; a client that has lost it sends again.
    """
    if not client.config.prompt_every:
        return prompts(client)
    asked, now = content.config_records["config"], digest(client)
    last = state.config_records.get(SPOKEN)
    if last is not None and last["digest"] == now and last["server-round"] == asked.get(HELD_KEY):
        return Unchanged(client.partition)
    payload = prompts(client)
    state[SPOKEN] = ConfigRecord({"digest": now, "server-round": asked["server-round"]})
    return payload


def prompts(client: Client) -> PromptPayload:
    """Return the payload of a client at the level its run asks for; images that cannot be read only count as skipped.

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
        return PromptPayload(client.partition, skipped=0 if level == "names" else len(client.skipped))
    labels, domains = names(client, client.dataset)
    counts, skipped = dict(Counter(labels)), len(client.skipped)
    if level == "embeddings":
        found, arrays = mean_embeddings(client)
        return PromptPayload(client.partition, found, counts, kind="embeddings", arrays=arrays, skipped=skipped)
    if level == "tokens":
        found, arrays = learned_tokens(client)
        return PromptPayload(client.partition, found, counts, kind="tokens", arrays=arrays, skipped=skipped)
    if level == "instance":
        dataset = chosen(client, client.dataset)
        labels, domains = names(client, dataset)
        told = texts(client.config, captions(client, dataset), labels, domains)
    else:
        domains = domains if level == "class-style" else [""] * len(labels)
        told = [_text(client, label, domain) for label, domain in zip(labels, domains, strict=True)]
    return PromptPayload(client.partition, count(told, labels, domains), counts, skipped=skipped)


def _text(client: Client, label: str, domain: str) -> str:
    template = client.config.prompt_template if domain else client.config.class_template
    return template.format(**{"class": label, "style": domain})
