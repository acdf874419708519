"""What an object must keep to that a configuration or a run takes: one suite a protocol, for built-in and own objects.

A suite is a pytest class. Derive from it in a test module of your own, say how your object is built, and run pytest:

    from tests.conformance.strategies import StrategySuite

    class TestMine(StrategySuite):
        def build(self):
            return Mine()
"""

import pytest

pytest.register_assert_rewrite(
    *(f"{__name__}.{suite}" for suite in ("captioners", "data", "engines", "levels", "observers", "strategies"))
)
