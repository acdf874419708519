"""What each client of a run answers in the prompt round; nothing is sent."""

from dataclasses import dataclass

from clients.data import Client
from clients.prompting import prompt_payload
from experiments.audit.neighbours import Watch
from fgl_flower.config import RunConfig
from fgl_flower.data.sources import load_source
from fgl_flower.wire.payload import PromptPayload
from fgl_flower.wire.question import Question
from strategies.planning import inquiry_of

__all__ = ["Answer", "answers_of"]


@dataclass(frozen=True)
class Answer:
    """A client's answer to the first question of a run."""

    client: Client
    question: Question
    payload: PromptPayload


def answers_of(config: RunConfig, watch: Watch = lambda done, total: None) -> list[Answer]:
    """Return the answer of every client, by partition."""
    question = inquiry_of(config, load_source(config).classes, evaluates=False).first()[0]
    result = []
    for number in range(config.clients):
        client = Client(number, config)
        result.append(Answer(client, question, prompt_payload(client, question)))
        watch(number + 1, config.clients)
    return result
