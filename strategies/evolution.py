"""Federated private evolution: candidates, a vote of the clients, the winners varied, and the next vote.

After Private Evolution (Lin et al., arXiv 2305.15560), with noise of every client's own: see `fgl_flower.levels.votes`.
The server adds up what clients say and keeps the candidates whose sums no noise explains. In the next round the winners
are asked about again, each with every word of a further group. Variants that stand out take their parent's place; what
is left of its votes stays with it where it stands out itself. In the end prompts are made of the winners in proportion
to their votes, words that are still open taken evenly.

All of it follows from the answers and the run's seed: a resumed run asks the same questions.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import median

import numpy as np

from fgl_flower.errors import RunError
from fgl_flower.levels.vocabulary import Candidate, Vocabulary
from fgl_flower.wire.ballot import Ballot
from fgl_flower.wire.payload import FEDERATION, Prompt, PromptPayload
from fgl_flower.wire.question import Question
from fgl_flower.wire.vectors import Vectors
from strategies.budget import OUT_OF_PROPORTION
from strategies.candidates import Appearance
from strategies.inquiry import Inquiry, Log

PROMPTS = 100  # of a class, at most: open words of as many prompts are varied enough
_SHOWN = 5  # winners of a class that an event names

Look = Callable[[Sequence[Candidate]], Appearance]


class Evolution(Inquiry):
    """One run's votes.

    Parameters
    ----------
    classes, domains : sequence of str
        The federation's.
    vocabulary : Vocabulary
    look : callable
        Returns what candidates look like.
    rounds : int
        Votes, at least 1 and at most one more than groups of words are open after the first.
    most : int
        Candidates of a class in a vote, at most.
    images : int
        Images of a class that will be drawn: no more prompts are made of it.
    clip : int
        Votes of a client for one candidate, at most.
    seed : int
    noise : float
        Standard deviation of the noise that clients add; 0: none.
    evaluates : bool
        See `Inquiry`.
    log : callable, optional
        Told of each vote: its winners, and from which sum on votes count.

    Attributes
    ----------
    winners : dict of str to dict of Candidate to float
        Of each class the candidates that are kept, with their votes.
    least : float
        Sum of votes from which on a candidate stood out in the last vote.
    """

    def __init__(
        self,
        classes: Sequence[str],
        domains: Sequence[str],
        vocabulary: Vocabulary,
        look: Look,
        *,
        rounds: int,
        most: int,
        images: int,
        clip: int,
        seed: int,
        noise: float = 0.0,
        evaluates: bool = True,
        log: Log = lambda event: None,
    ) -> None:
        super().__init__(classes, evaluates=evaluates, log=log)
        self.domains = frozenset(domains)
        self.vocabulary = vocabulary
        self.look = look
        self.rounds = rounds
        self.most = most
        self.prompts = min(images, PROMPTS)
        self.clip = clip
        self.seed = seed
        self.noise = noise
        self.winners: dict[str, dict[Candidate, float]] = {}
        self.least = 1.0
        self._done = 0  # votes
        self._asked: dict[str, list[Candidate]] = {}  # candidates of the vote that is under way
        self._votes: dict[int, PromptPayload] = {}  # by node, of the vote that is under way
        self._held: dict[int, PromptPayload] = {}  # by node, what it said in the first one

    @property
    def composes(self) -> bool:
        """Whether what is drawn is put together of several answers."""
        return True

    def first(self) -> list[Question]:
        """Return the first vote, on all words of the first groups."""
        self._done = 0
        self.winners.clear()
        self._held.clear()
        self._asked = {name: self.vocabulary.candidates(name, self.most, self.seed) for name in self.classes}
        return [self._ballot()]

    def following(self) -> Question | None:
        """Return the vote on the winners with the words of a further group; None after the last vote."""
        if self._done >= self.rounds or not any(self.winners.values()):
            return None
        group = self.vocabulary.later[self._done - 1]
        self._asked = {
            name: [variant for winner in kept for variant in self.vocabulary.varied(winner, group)]
            for name, kept in self.winners.items()
            if kept
        }
        return self._ballot()

    def take(self, node: int, question: Question, payload: PromptPayload, size: int) -> None:
        """Keep a node's votes, if they are on the candidates that were asked about."""
        self.spent[node] = self.spent.get(node, 0) + size
        if question.ballot is None or len(payload.votes) != question.ballot.size:
            return  # a grid without a gate may be in use
        self.asked.setdefault(payload.partition_id, set()).add(question.level)
        self._votes[node] = payload

    def settle(self, question: Question) -> None:
        """Count the votes and choose the winners."""
        assert question.ballot is not None
        sums = self._sums(question.ballot)
        self.least = self._least(len(self._votes), question.ballot.size)
        for name, start in zip(question.ballot.classes, question.ballot.starts, strict=True):
            asked = self._asked[name]
            counts = dict(zip(asked, sums[start : start + len(asked)].tolist(), strict=True))
            kept = self._kept(counts, self.winners.get(name, {}), question.ballot.size)
            self.winners[name] = dict(sorted(kept.items(), key=lambda pair: (-pair[1], pair[0]))[: self._room()])
        if not self._done:
            self._held = {node: self._with_counts(payload, question.ballot) for node, payload in self._votes.items()}
        self._done += 1
        self.log(
            {
                "event": "votes",
                "vote": self._done,
                "candidates": question.ballot.size,
                "answers": len(self._votes),
                "least": self.least,
                "winners": {
                    name: {" ".join(filter(None, one.words)): round(n) for one, n in list(kept.items())[:_SHOWN]}
                    for name, kept in self.winners.items()
                },
            }
        )
        self._votes = {}

    def payloads(self) -> list[PromptPayload]:
        """Return what clients hold, as far as it stands out, and the prompts that are made of the winners.

        Raises
        ------
        RunError
            If no candidate of any class stood out.
        """
        if not any(self.winners.values()):
            raise RunError(
                f"no candidate of any class got the {self.least:.1f} votes that stand out: there is nothing to draw; "
                + ("set a larger dp-epsilon or fewer vote-rounds" if self.noise else "no client has an image")
            )
        prompts = tuple(sorted(prompt for name, kept in self.winners.items() for prompt in self._prompts(name, kept)))
        clients = sorted(self._held.values(), key=lambda payload: payload.partition_id)
        return [*clients, PromptPayload(FEDERATION, prompts)]

    def _room(self) -> int:
        """Return how many winners of a class the next vote has room for."""
        if self._done + 1 >= self.rounds:
            return self.most
        group = self.vocabulary.later[self._done]
        return max(1, self.most // len(dict(self.vocabulary.groups)[group]))

    def _ballot(self) -> Question:
        places: dict[tuple[str, tuple[str, ...]], int] = {}
        shown: list[Candidate] = []
        members: list[tuple[int, ...]] = []
        for asked in self._asked.values():
            rows = []
            for candidate in asked:  # one that looks the same in every class is drawn and sent once
                key = (candidate.label if self.vocabulary.named else "", candidate.words)
                if key not in places:
                    places[key] = len(shown)
                    shown.append(candidate)
                rows.append(places[key])
            members.append(tuple(rows))
        seen = self.look(shown)
        features, scale = Vectors.of(seen.features), Vectors.of(seen.scale[None])
        return Question(ballot=Ballot(self._done, tuple(self._asked), tuple(members), features, scale))

    def _sums(self, ballot: Ballot) -> np.ndarray:
        """Return the sums of all clients' votes, (numbers,) float; no client has more than its share of them.

        As in `strategies.budget.held_images`, what a client claims in all counts at most ten times the median client's.
        """
        if not self._votes:
            return np.zeros(ballot.size)
        votes = np.array([payload.votes for payload in self._votes.values()], dtype=np.float64)
        votes = votes.clip(-self.clip, self.clip)
        totals = votes.sum(axis=1)
        bound = OUT_OF_PROPORTION * median([total for total in totals.tolist() if total > 0] or [0])
        scale = np.where(totals > bound, bound / np.maximum(totals, 1), 1.0)
        return (votes * scale[:, None]).sum(axis=0)

    def _least(self, answers: int, numbers: int, summed: int = 1) -> float:
        """Return the least sum of `summed` numbers of so many clients that stands out among so many such sums.

        As `Guarantee.threshold`: what the largest of so many sums of noise alone would about reach.
        """
        deviation = self.noise * math.sqrt(answers * summed)
        return max(1.0, deviation * math.sqrt(2 * math.log(max(numbers, 2))))

    def _kept(
        self, counts: Mapping[Candidate, float], parents: Mapping[Candidate, float], numbers: int
    ) -> dict[Candidate, float]:
        """Return the winners among candidates with these votes, in a vote of so many numbers.

        `parents` are those that they are variants of, none in the first vote; they are kept where nothing stands out.
        """
        if not parents:
            return {candidate: n for candidate, n in counts.items() if n >= self.least}
        group = self.vocabulary.later[self._done - 1]
        kept: dict[Candidate, float] = {}
        for parent in parents:
            variants = self.vocabulary.varied(parent, group)
            strong = {one: counts[one] for one in variants if counts[one] >= self.least}
            kept |= strong
            if others := [counts[one] for one in variants if one not in strong]:
                rest = sum(others)
                if rest >= self._least(len(self._votes), numbers, len(others)):
                    kept[parent] = rest
        return kept or dict(parents)

    def _with_counts(self, payload: PromptPayload, ballot: Ballot) -> PromptPayload:
        """Return a client's first votes with the images of each class that they add up to, where these stand out."""
        counts = {}
        for name, start, rows in zip(ballot.classes, ballot.starts, ballot.members, strict=True):
            total = sum(payload.votes[start : start + len(rows)])
            if total >= self._least(1, len(ballot.classes), len(rows)):
                counts[name] = total
        return PromptPayload(
            payload.partition_id, (), counts, kind="votes", skipped=payload.skipped, votes=payload.votes
        )

    def _prompts(self, name: str, kept: Mapping[Candidate, float]) -> list[Prompt]:
        """Return the prompts of a class, as many of each winner as is its share of the votes."""
        if not kept:
            return []
        total = sum(kept.values())
        shares = {winner: n * self.prompts / total for winner, n in kept.items()}
        places = {winner: int(share) for winner, share in shares.items()}
        most_left = sorted(kept, key=lambda winner: (places[winner] - shares[winner], winner))
        for winner in most_left[: self.prompts - sum(places.values())]:
            places[winner] += 1
        counts: dict[tuple[str, str], float] = {}
        for winner, n in places.items():
            for text, style in self.vocabulary.texts(winner, n, self.seed):
                key = (text, style if style in self.domains else "")
                counts[key] = counts.get(key, 0.0) + kept[winner] / n
        return [Prompt(text, name, style, max(1, round(n))) for (text, style), n in counts.items()]
