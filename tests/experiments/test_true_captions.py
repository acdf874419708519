"""The level that says what a perfect captioner would be worth."""

from clients.data import Client
from clients.holdings import holdings
from experiments.shows.true_captions import TrueCaptions
from fgl_flower.config import RunConfig


def test_it_says_what_the_drawing_code_says_and_loads_no_captioner() -> None:
    client = Client(0, RunConfig(dataset="world-codes", private_images=60, clients=2))
    prompts = TrueCaptions().describe(holdings(client, unnamed=client.source.classes)).prompts
    told = [
        f"{caption}, {client.source.domains[domain]}"
        for caption, domain in zip(client.rows.dataset["caption"], client.rows.dataset["domain"], strict=True)
    ]
    assert sorted(text for p in prompts for text in [p.text] * p.count) == sorted(told)
    assert TrueCaptions.client_models == frozenset()
