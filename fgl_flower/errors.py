"""What a user can set right is told in one sentence: these errors never reach a terminal as a traceback.

`ConfigError` and its kinds mean that the input was wrong and nothing was run (exit code 2); `RunError` that a run began
and could not be ended (exit code 1).
"""


class ConfigError(ValueError):
    """The configuration cannot be run; the message says which key to change and how."""


class DataError(ConfigError):
    """The data set is missing or not of the shape that its kind asks for."""


class ModelError(ConfigError):
    """A model's weights are missing or not of the kind that is asked for."""


class RunError(RuntimeError):
    """A run failed after it began; the message says why, its folder is marked failed."""


class StoreError(RunError):
    """The synthetic store cannot be read or written; the message says what to do."""


def reason(error: BaseException) -> str:
    """Return an error as one line: a `RunError` or `ConfigError` is a sentence already, others need their type."""
    text = " ".join(str(error).split())
    if text and isinstance(error, ConfigError | RunError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
