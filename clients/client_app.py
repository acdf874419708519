"""The data owner's end of the wire: three handlers, each of which always answers."""

import re
from collections.abc import Callable
from logging import ERROR

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode
from flwr.supercore import log

from clients.data import Client
from clients.evaluation import measure
from clients.prompting import answer
from clients.training import fit, take
from fgl_flower.payload import encode

app = ClientApp()

# With spaces up to a quote, bracket or colon if it begins with a separator, else up to the next space.
_PATH = re.compile(r"""(?<!\w)(?:~|[A-Za-z]:)?[/\\][^'"():;,]*|[^\s'"(]*[/\\][^\s'")]*""")


@app.query("prompts")
def query_prompts(message: Message, context: Context) -> Message:
    """Answer a prompt round."""
    return _answer(message, lambda: encode(answer(Client.of(context), message.content, context.state)))


@app.query("model")
def query_model(message: Message, context: Context) -> Message:
    """Take the final model, and acknowledge it with an empty reply."""
    return _answer(message, lambda: take(Client.of(context), message.content))


@app.train()
def train(message: Message, context: Context) -> Message:
    """Answer a round of federated training."""
    return _answer(message, lambda: fit(Client.of(context), message.content, context.state))


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Answer a round of federated evaluation."""
    return _answer(message, lambda: measure(Client.of(context), message.content))


def _answer(message: Message, work: Callable[[], RecordDict]) -> Message:
    """Reply with the work's records, or with an error that says why there are none.

    Left to Flower, an exception would travel as a whole traceback: paths of the data owner's machine are not the
    server's business. The whole error goes to the client's own log.
    """
    try:
        return Message(work(), reply_to=message)
    except Exception as error:  # whatever it is, the server must not wait for the timeout
        log(ERROR, "the client's answer failed: %s: %s", type(error).__name__, error)
        reason = _PATH.sub("<a path>", " ".join(str(error).split()))
        text = f"{type(error).__name__}: {reason}" if reason else type(error).__name__
        return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, text[:500]), reply_to=message)
