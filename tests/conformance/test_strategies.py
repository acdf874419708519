"""Every built-in strategy, some of Flower's and a user's own, alone and behind a prompt round."""

import pytest
from flwr.serverapp.strategy import FedMedian, Strategy

from experiments.examples.own_strategy import Damped
from fgl_flower.config import RunConfig
from fgl_flower.extension_points import WRAPPED
from strategies.federated import strategy_of
from strategies.fgl import FGL
from strategies.local import Local
from tests.conformance.strategies import StrategySuite
from tests.toys import CLIENTS, learns, run
from tests.undrawn import Undrawn

CONFIG = RunConfig(method="fedavg", rounds=1)
OWN = f"{Damped.__module__}:{Damped.__qualname__}"
FLOWERS = f"{FedMedian.__module__}:{FedMedian.__qualname__}"
NAMES = [*WRAPPED.builtins, FLOWERS, OWN]


@pytest.mark.parametrize("name", NAMES)
class TestFederated(StrategySuite):
    @pytest.fixture(autouse=True)
    def _named(self, name: str) -> None:
        self.name = name

    def build(self) -> Strategy:
        return strategy_of(self.name, CONFIG)


@pytest.mark.parametrize("name", NAMES)
class TestWrapped(StrategySuite):
    prompt_rounds = 1

    @pytest.fixture(autouse=True)
    def _named(self, name: str) -> None:
        self.name = name

    def build(self) -> Strategy:
        return FGL(strategy_of(self.name, CONFIG), Undrawn(), learns(7))

    def test_after_the_prompt_round_it_goes_on_as_the_wrapped_strategy_would(self) -> None:
        generative = FGL(strategy_of(self.name, CONFIG), Undrawn(), learns(0))
        assert run(generative, 3)[0] == run(strategy_of(self.name, CONFIG), 2)[0]


class TestLocal(StrategySuite):
    def build(self) -> Strategy:
        return Local()

    def test_each_client_goes_on_from_its_own_model(self) -> None:
        strategy = Local()
        shared, _, _ = run(strategy, 3)
        assert len(shared) == 0
        values = sorted(float(arrays["b"].numpy()) for arrays in strategy.models.values())
        assert values == [3 * (1 + i) for i in range(CLIENTS)]  # 1 + i, three times
