"""What every strategy keeps to."""

import numpy as np
from flwr.app import ConfigRecord
from flwr.serverapp.strategy import Strategy

from fgl_flower.simulation import InlineGrid
from tests.toys import CLIENTS, SHAPES, filled, run, toy_app


class StrategySuite:
    """Derive from it and define `build`.

    Attributes
    ----------
    prompt_rounds : int
        Rounds at the start in which the strategy asks for prompts instead of training.
    """

    prompt_rounds = 0

    def build(self) -> Strategy:
        """Return a new strategy that asks all of at least four clients in each round and evaluates on none of them."""
        raise NotImplementedError

    def test_each_round_asks_every_client_once(self) -> None:
        _, seen, evaluated = run(self.build(), self.prompt_rounds + 2)
        trained = [s for s in seen if s["kind"] == "train"]
        assert [s["server-round"] for s in trained] == [1] * CLIENTS + [2] * CLIENTS
        assert evaluated == list(range(self.prompt_rounds + 3))

    def test_the_model_keeps_names_shapes_and_dtypes(self) -> None:
        arrays, _, _ = run(self.build(), self.prompt_rounds + 2)
        for name, array in arrays.items():
            assert (array.dtype, tuple(array.shape)) == ("float32", SHAPES[name])
            assert np.isfinite(array.numpy()).all()

    def test_it_is_repeatable(self) -> None:
        first, second = (run(self.build(), self.prompt_rounds + 2)[0] for _ in range(2))
        assert first == second

    def test_a_round_without_replies_changes_nothing(self) -> None:
        strategy = self.build()
        grid = InlineGrid(toy_app([]), CLIENTS, {})
        server_round = self.prompt_rounds + 1
        list(strategy.configure_train(server_round, filled(0), ConfigRecord(), grid))
        assert strategy.aggregate_train(server_round, []) == (None, None)

    def test_it_says_what_it_is(self) -> None:
        self.build().summary()
