"""The observers that every run may have, and one of a user's own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fgl_flower.config import RunConfig
from fgl_flower.records.observer import Observer
from fgl_flower.records.tensorboard import Board
from fgl_flower.report.observers import Page
from tests.conformance.observers import ObserverSuite


class Rounds(Observer):
    """Writes the accuracy of each round as a line."""

    name = "rounds.txt"

    def begin(self, folder: Path, config: RunConfig) -> None:
        self.file = folder / self.name

    def event(self, event: Mapping[str, Any]) -> None:
        if event["event"] == "round":
            with self.file.open("a", encoding="utf-8") as file:
                file.write(f"{event['round']} {event['validation_accuracy']}\n")


class TestSilent(ObserverSuite):
    def build(self) -> Observer:
        return Observer()


class TestPage(ObserverSuite):
    def build(self) -> Observer:
        return Page()


class TestBoard(ObserverSuite):
    def build(self) -> Observer:
        return Board()


class TestOwn(ObserverSuite):
    def build(self) -> Observer:
        return Rounds()
