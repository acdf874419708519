"""Extension points: names and objects come through one door, and what is missing is said in a sentence."""

import importlib
from pathlib import Path
from typing import Any

import pytest
from flwr.serverapp.strategy import FedMedian

from fgl_flower import extension_points
from fgl_flower.config import RunConfig
from fgl_flower.errors import ConfigError
from fgl_flower.extension import ExtensionPoint, called_with, is_reference
from strategies.federated import strategy_of

POINTS = [point for point in vars(extension_points).values() if isinstance(point, ExtensionPoint)]
BUILTINS = [(point, name) for point in POINTS for name, reference in point.builtins.items() if reference]


@pytest.mark.parametrize(("point", "name"), BUILTINS, ids=lambda value: getattr(value, "key", value))
def test_built_in_names_come_through_the_same_door(point: ExtensionPoint, name: str) -> None:
    assert is_reference(point.builtins[name])
    found = point.load(name)
    assert point.check(found) == ""
    module, _, attribute = point.builtins[name].partition(":")
    assert found is getattr(importlib.import_module(module), attribute)
    assert point.load(point.builtins[name]) is found, "a user's own reference to it is taken, too"


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"method": "fedavgg"}, "did you mean 'fedavg'?"),
        ({"method": "no_such_module:x"}, "there is no module 'no_such_module'"),
        ({"method": "flwr.serverapp.strategy:FedMedia"}, "did you mean 'FedMedian'?"),
        ({"method": "flwr.serverapp.strategy:FedMedian"}, "set rounds to at least 1"),
        ({"method": "pathlib:Path"}, "does not derive from flwr.serverapp.strategy.Strategy"),
        ({"wrapped": "math:pi"}, "it is a float, not a function or class that takes (config)"),
        ({"model": "math:gcd.__name__"}, "it is a str"),
        ({"partition": "os:getcwd"}, "it is called with (images, config)"),
        ({"prompt-level": "pathlib:Path"}, "it has no kind, client_models, describe, offer"),
        ({"budget-rule": "os:getcwd"}, "it is called with (offers, held)"),
        ({"dataset": "foldr:here"}, "did you mean folder:...?"),
        ({"generator": "pathlib:Path"}, "it has no revision, size, draw"),
        ({"captioner": "pathlib:Path"}, "it has no revision, describe"),
    ],
)
def test_what_is_missing_is_said_when_the_configuration_is_built(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        RunConfig.parse(values)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_module_that_cannot_be_imported_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_module.py").write_text("raise OSError('no licence')", encoding="utf-8")
    (tmp_path / "needs_module.py").write_text("import nowhere_to_be_found", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    for module, told in (("broken_module", "OSError: no licence"), ("needs_module", "nowhere_to_be_found")):
        with pytest.raises(ConfigError, match=told):
            RunConfig.parse({"model": f"{module}:build"})


def test_any_strategy_of_flowers_is_a_method_and_can_be_wrapped() -> None:
    reference = "flwr.serverapp.strategy:FedMedian"
    config = RunConfig(method=reference, rounds=1, fraction=0.5)
    strategy = strategy_of(reference, config)
    assert isinstance(strategy, FedMedian)
    assert strategy.fraction_train == pytest.approx(0.5)
    assert isinstance(strategy_of(reference, RunConfig(wrapped=reference)), FedMedian)


def test_a_function_must_take_what_it_is_called_with() -> None:
    assert called_with("a", "b")(lambda a, b=1: None) == ""
    assert called_with("a", "b")(lambda *rest: None) == ""
    assert "it is called with (a, b)" in called_with("a", "b")(lambda a: None)
    assert "it is called with (a)" in called_with("a")(lambda a, *, needed: None)
