"""What clients are asked in a prompt round, and what is drawn from their answers.

With a fixed level they are asked once. With `prompt-level = "auto"` the server begins with names where the generator
can read them, and goes on class by class: where the model trained on what it drew does badly on the clients' images,
those that hold the class are asked at the next level. A class goes back to the level that did best for it. Images
whose prompts stay are not drawn again: the store has them.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from fgl_flower.levels.auto import DEAR, UNKNOWN
from fgl_flower.wire.payload import PromptPayload
from fgl_flower.wire.question import Question
from strategies.transfer import Transfer

Log = Callable[[dict[str, Any]], None]
GAIN = 0.02
"""By which the share of all images that are right must rise for asking about some classes to have helped."""


class Inquiry:
    """One run's questions and answers.

    Parameters
    ----------
    classes : sequence of str
        The federation's.
    unnamed : collection of str
        Classes whose names the generator cannot read: they stay out of prompts made of captions.
    ladder : sequence of str
        Levels of "auto", the cheapest first; empty: the run has one level, and clients are asked once.
    goal : float
        Share of a class's real images that the model must get right, 0..1; dear levels are asked for only where the
        generator hardly knows a class (`fgl_flower.levels.auto`).
    max_bytes : int
        What a client's answers may take in all; 0: no limit.
    evaluates : bool
        Whether clients are asked how the model does on their images; "auto" needs it.
    log : callable, optional
        Told of every question of "auto": level, classes and why.

    Attributes
    ----------
    level : dict of str to str
        The level at which each class is drawn; "" is the run's own.
    spent : dict of int to int
        Bytes of each node's answers.
    asked : dict of int to set of str
        Levels at which each node was asked.
    """

    def __init__(
        self,
        classes: Sequence[str],
        unnamed: Sequence[str] = (),
        ladder: Sequence[str] = (),
        goal: float = 0.8,
        max_bytes: int = 0,
        evaluates: bool = True,
        log: Log = lambda event: None,
    ) -> None:
        self.classes = tuple(classes)
        self.unnamed = tuple(unnamed)
        self.ladder = tuple(ladder)
        self.goal = goal
        self.max_bytes = max_bytes
        self.evaluates = evaluates
        self.log = log
        self.level: dict[str, str] = dict.fromkeys(classes, "")
        self.spent: dict[int, int] = {}
        self.asked: dict[int, set[str]] = {}
        self._answers: dict[str, dict[int, PromptPayload]] = {}  # by level and node
        self._heard: dict[int, dict[str, int]] = {}  # images of each class that a node was asked about, by node
        self._unsaid: dict[int, int] = {}  # images of each node's answers that no prompt stands for
        self._unasked: set[int] = set()  # nodes whose bytes were spent when a question came
        self._shares: dict[str, dict[str, float]] = {}  # of each class what was last right at each level
        self._overall = -1.0  # the best share of all images so far
        self._tried: dict[str, int] = {}  # of each class the last rung of the ladder that was asked for

    @property
    def composes(self) -> bool:
        """Whether what is drawn is put together of several answers of a client, by `payloads`."""
        return bool(self.ladder)

    def first(self) -> list[Question]:
        """Return the questions that open a prompt round, to be asked one after the other."""
        if not self.ladder:
            return [Question(unnamed=self.unnamed, max_bytes=self.max_bytes)]
        strange = [name for name in self.classes if name in self.unnamed]
        rungs = {0: [name for name in self.classes if name not in self.unnamed], min(1, len(self.ladder) - 1): strange}
        why = {0: "names are asked for first", 1: "the generator cannot read these names"}
        return [self._question(rung, names, why[rung]) for rung, names in rungs.items() if names]

    def addressed(self, question: Question, nodes: Sequence[int]) -> dict[int, Question]:
        """Return what each of the nodes is asked: nothing of those without such a class or without bytes left."""
        result = {}
        for node in nodes:
            left = self.max_bytes - self.spent.get(node, 0) if self.max_bytes else 0
            if self.max_bytes and left <= 0:
                self._unasked.add(node)
                continue
            if self._holds(node, question.classes):
                result[node] = replace(question, max_bytes=max(0, left))
        return result

    def take(self, node: int, question: Question, payload: PromptPayload, size: int) -> None:
        """Keep a node's answer of so many bytes."""
        self.spent[node] = self.spent.get(node, 0) + size
        self.asked.setdefault(payload.partition_id, set()).add(question.level)
        unsaid = sum(payload.class_counts.values()) - sum(prompt.count for prompt in payload.prompts)
        self._unsaid[node] = self._unsaid.get(node, 0) + max(0, unsaid)
        answers = self._answers.setdefault(question.level, {})
        if (earlier := answers.get(node)) is not None and question.classes:  # it spoke of other classes then
            prompts = tuple(sorted({*earlier.prompts, *payload.prompts}))
            payload = replace(payload, prompts=prompts, arrays={**earlier.arrays, **payload.arrays})
        answers[node] = payload
        heard = self._heard.setdefault(node, {})
        heard.update({name: payload.class_counts.get(name, 0) for name in question.classes or self.classes})

    def left_out(self) -> str:
        """Return a sentence on what `max_bytes` kept back, "" if nothing.

        Images that `max-captions` leaves out count, too: the server cannot tell them apart.
        """
        if not self.max_bytes:
            return ""
        lost = {node: self._unsaid.get(node, 0) for node in self._heard}
        clients = [node for node, images in lost.items() if images]
        if not clients and not self._unasked:
            return ""
        return (
            f"max-client-bytes = {self.max_bytes:,}: prompts for {sum(lost.values()):,} images of {len(clients)} "
            f"clients were left out, and {len(self._unasked)} clients with no bytes left were not asked again"
        )

    def settle(self, question: Question) -> None:
        """Draw the classes of a question from its answers, those of which there is any."""
        answers = self._answers.get(question.level, {}).values()
        told = {prompt.label for payload in answers for prompt in payload.prompts}
        for name in question.classes or self.classes:
            if name in told:
                self.level[name] = question.level

    def following(self) -> Question | None:
        """Return what to ask once the answers to all questions so far are settled; None: nothing."""
        return None

    def payloads(self) -> list[PromptPayload]:
        """Return what is to be drawn: of every node and level the prompts of the classes that are at that level."""
        result: list[PromptPayload] = []
        counted: set[int] = set()
        for level, answers in self._answers.items():
            for node, payload in answers.items():
                kept = tuple(p for p in payload.prompts if self.level[p.label] == level)
                arrays = payload.arrays if kept else {}
                own = replace(payload, prompts=kept, arrays=arrays)
                held = {name: n for name, n in self._heard[node].items() if n}
                own = replace(own, class_counts={} if node in counted else held)  # a client's images count once
                counted.add(node)
                if kept or own.class_counts:
                    result.append(own if kept else replace(own, kind="text"))
        return sorted(result, key=lambda payload: (payload.partition_id, payload.kind))

    def learn(self, transfer: Transfer) -> list[Question]:
        """Return what to ask next after a model did so on the clients' images; nothing where all is well or exhausted.

        A class whose last level did no better than an earlier one goes back to that. Where asking about some classes
        has hardly made the model better, the others are asked for the same level: a model that sees some classes as
        clients have them and others as the generator imagines them learns the look of images, not what they show.
        """
        if not self.ladder:
            return []
        helped, self._overall = transfer.overall >= self._overall + GAIN, max(self._overall, transfer.overall)
        wanted: dict[int, list[str]] = {}
        for name in self.classes:
            share = transfer.share(name)
            if share is None:
                continue
            shares = self._shares.setdefault(name, {})
            shares[self.level[name]] = share
            self.level[name] = max(shares, key=shares.__getitem__)  # the cheaper one of equals: it was asked first
            rung = self._tried.get(name, 0) + 1
            if rung < len(self.ladder) and shares[self.level[name]] < self._enough(self.ladder[rung]):
                wanted.setdefault(rung, []).append(name)
        why = {rung: self._why(transfer, names) for rung, names in wanted.items()}
        rung = max((rung for rung in self._tried.values() if self.ladder[rung] not in DEAR), default=0)
        if not helped and (others := [name for name in self._shares if self._tried.get(name, 0) < rung]):
            wanted[rung], why[rung] = others, "asking about some classes made the model little better: now about all"
            for name, shares in self._shares.items():
                if self.ladder[rung] in shares:
                    self.level[name] = self.ladder[rung]
        return [self._question(rung, names, why[rung]) for rung, names in sorted(wanted.items())]

    def _enough(self, level: str) -> float:
        """Return the share of a class that must be right for a level not to be asked for."""
        return min(self.goal, UNKNOWN) if level in DEAR else self.goal

    def _why(self, transfer: Transfer, names: Sequence[str]) -> str:
        shares = ", ".join(f"{name} {transfer.share(name):.0%}" for name in names)
        return f"of the clients' images the model gets right: {shares}"

    def _question(self, rung: int, names: Sequence[str], why: str) -> Question:
        level = self.ladder[rung]
        self._tried.update(dict.fromkeys(names, rung))
        # A name of which hardly anything was right stays out of captions: the generator means something else by it.
        first = self.ladder[0]
        unnamed = tuple(n for n in names if rung and (n in self.unnamed or self._shares[n].get(first, 1) < UNKNOWN))
        self.log({"event": "question", "level": level, "classes": list(names), "why": why})
        return Question(level, tuple(names), unnamed, self.max_bytes)

    def _holds(self, node: int, names: Sequence[str]) -> bool:
        """Return whether a node has images of any of the classes, or has not been asked about them yet."""
        heard = self._heard.get(node, {})
        return not names or any(heard.get(name, 1) for name in names)
