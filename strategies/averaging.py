"""The mean of clients' models as they come: the server holds one sum, however many there are.

Floating-point sums depend on their order, and replies come in whatever order clients finish. So the sum is one of whole
numbers: each weight counts in steps of 2**-e, with e chosen for each array by the global model's largest weight, and
integers add up to the same total in any order. 62 bits leave room for every example that may be claimed: with a
thousand clients steps are still 30 times finer than a float32 of the largest weight's size.
"""

import inspect
import math
from dataclasses import dataclass, field
from functools import reduce

import numpy as np
from flwr.app import ArrayRecord, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAdagrad, FedAdam, FedAvg, FedAvgM, FedProx, FedYogi, Strategy
from flwr.serverapp.strategy.fedopt import FedOpt
from flwr.serverapp.strategy.strategy_utils import aggregate_metricrecords

from fgl_flower.wire.npy import array_of, values
from strategies.federated import Float32FedAdam, Moon

_BITS = 62  # of a sum, beside its sign
_CHUNK = 2**16  # numbers
_HEADROOM = 6  # a client's largest weight may be 2**6 times the global model's
_AVERAGES = (FedAvg, FedAvgM, FedProx, FedOpt, FedAdagrad, FedAdam, FedYogi, Float32FedAdam, Moon)
NUM_EXAMPLES = "num-examples"


def needs_only_the_mean(strategy: Strategy) -> bool:
    """Return whether a strategy makes nothing of clients' models but their mean, weighted by ``num-examples``.

    That is so for Flower's `FedAvg` and those derived from it that average first; a class that overrides
    `aggregate_train` itself (a median, Krum, a user's own) is given all replies.
    """
    if not isinstance(strategy, FedAvg):
        return False
    makers = [base for base in inspect.getmro(type(strategy)) if "aggregate_train" in vars(base)]
    return (
        all(maker in (*_AVERAGES, Strategy) for maker in makers)
        and type(strategy)._check_and_log_replies is FedAvg._check_and_log_replies
        and (strategy.weighted_by_key, strategy.arrayrecord_key) == (NUM_EXAMPLES, "arrays")
        and strategy.train_metrics_aggr_fn is aggregate_metricrecords
    )


@dataclass
class RunningMean:
    """The weighted mean of models and metrics of which each is forgotten once it is added.

    Parameters
    ----------
    start : ArrayRecord
        The global model, by whose weights the steps are chosen; names, shapes and dtypes of all others.
    most : int
        Bound of all weights together, >= 1.

    Attributes
    ----------
    count : int
        Models added.
    weight : int
        Sum of their weights.
    """

    start: ArrayRecord
    most: int
    count: int = 0
    weight: int = 0
    _sums: dict[str, np.ndarray] = field(default_factory=dict)  # int64, in steps of 2**-exponent
    _exponents: dict[str, int] = field(default_factory=dict)
    _beyond: dict[str, list[np.ndarray]] = field(default_factory=dict)  # float64, of clients with huge weights
    _metrics: list[tuple[int, dict[str, float]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        room = _BITS - math.ceil(math.log2(self.most)) - _HEADROOM
        for name, array in self.start.items():
            numbers = values(array)
            largest = float(np.abs(numbers).max()) if numbers.size else 0.0
            size = math.frexp(largest)[1] if largest else 0  # largest < 2**size
            self._exponents[name] = room - size
            self._sums[name] = np.zeros(numbers.shape, np.int64)
            self._beyond[name] = []

    def add(self, content: RecordDict) -> None:
        """Add a reply's finite ``arrays`` and ``metrics``; its weight is ``num-examples``, >= 1, among these."""
        arrays, metrics = content.array_records["arrays"], content.metric_records["metrics"]
        weight = int(metrics[NUM_EXAMPLES])  # type: ignore[arg-type]
        for name, array in arrays.items():
            numbers, exponent = values(array).reshape(-1), self._exponents[name]
            # Of a sum of the largest allowed, no client's share is larger than this.
            most = 2.0 ** (_BITS - math.ceil(math.log2(self.most)) - exponent)
            if numbers.size and max(-float(numbers.min()), float(numbers.max())) >= most:
                self._beyond[name].append(numbers.astype(np.float64) * weight)
                continue
            total = self._sums[name].reshape(-1)
            for begin in range(0, len(numbers), _CHUNK):  # what is made on the way stays small, and in the cache
                part = slice(begin, begin + _CHUNK)
                steps = np.multiply(numbers[part], 2.0**exponent, dtype=np.float64)
                total[part] += np.rint(steps, out=steps).astype(np.int64) * weight
        told = {name: float(value) for name, value in metrics.items() if name != NUM_EXAMPLES}  # type: ignore[arg-type]
        self._metrics.append((weight, told))
        self.count += 1
        self.weight += weight

    def content(self) -> RecordDict:
        """Return what a single client would send that had all examples: the means, in the order of `start`."""
        arrays = {}
        for name, array in self.start.items():
            mean = self._sums.pop(name) * (2.0 ** -self._exponents[name] / self.weight)
            if beyond := self._beyond[name]:
                # Their order is that of replies: sorted by bytes, the sum is the same in any.
                mean += reduce(np.add, sorted(beyond, key=np.ndarray.tobytes)).reshape(mean.shape) / self.weight
            arrays[name] = array_of(np.asarray(mean, dtype=array.dtype))
        names = sorted({name for _, told in self._metrics for name in told})
        means = {name: math.fsum(weight * told[name] for weight, told in self._metrics) / self.weight for name in names}
        return RecordDict(
            {"arrays": ArrayRecord(arrays), "metrics": MetricRecord({NUM_EXAMPLES: self.weight, **means})}
        )
