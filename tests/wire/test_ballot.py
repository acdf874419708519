"""Candidates on the wire: they come back as they were sent, and a client refuses what is none."""

from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, RecordDict

from fgl_flower.errors import ConfigError
from fgl_flower.wire.ballot import RECORD, Ballot, asked_for
from fgl_flower.wire.vectors import Vectors

BALLOT = Ballot(
    1, ("a", "b"), ((0, 2), (2, 1, 0)), Vectors.of(np.arange(6.0).reshape(3, 2)), Vectors.of(np.array([[1.0, 0.5]]))
)


def content(**changes: Any) -> RecordDict:
    return RecordDict({RECORD: ConfigRecord({**BALLOT.to_record(), **changes})})


def test_it_comes_back_as_it_was_sent() -> None:
    assert Ballot.of(content()) == BALLOT
    assert (BALLOT.size, BALLOT.starts) == (5, [0, 2])
    assert asked_for(content()) == 5
    assert Ballot.of(RecordDict()) is None
    assert asked_for(RecordDict()) == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"members": [0, 2, 2, 1, 3]},  # there are three candidates
        {"members": [0, 2, 2, 1, -1]},
        {"members": [0, 2, 2, 1]},
        {"counts": [5, 0]},
        {"counts": [6, -1]},
        {"counts": []},
        {"classes": ["a"]},
        {"classes": ["a", "a"]},
        {"width": 5},
        {"width": 0},
        {"features": b"123"},
        {"scale": b"12"},
        {"features": np.full((3, 2), np.nan, np.float16).tobytes()},
        {"round": "second"},
    ],
)
def test_what_is_no_ballot_is_refused_with_a_sentence(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="the server's candidates cannot be read"):
        Ballot.of(content(**changes))


def test_one_that_lacks_a_value_is_refused() -> None:
    record = dict(BALLOT.to_record())
    del record["scale"]
    with pytest.raises(ConfigError, match="cannot be read: KeyError"):
        Ballot.of(RecordDict({RECORD: ConfigRecord(record)}))
