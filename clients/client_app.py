"""The data owner's end of the wire: five handlers, each of which always answers.

In a deployment every message is handled by a new process, so a handler imports what it needs when it is called: torch
for training and evaluation, a captioner for captions, neither for prompts made of names, nothing for taking the model.
"""

import re
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from logging import ERROR
from typing import TYPE_CHECKING

from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode
from flwr.supercore import log

from clients.sent import note

if TYPE_CHECKING:
    from clients.data import Client

Describe = Callable[[Exception, Message, Context], str]
"""Returns what the server is told of an error, and keeps the rest where it belongs."""

# With spaces up to a quote, bracket or colon if it begins with a separator, else up to the next space.
_PATH = re.compile(r"""(?<!\w)(?:~|[A-Za-z]:)?[/\\][^'"():;,]*|[^\s'"(]*[/\\][^\s'")]*""")


def _build(describe: Describe, *, deployed: bool) -> ClientApp:
    """Return the app of a client that describes its errors in this way and, if deployed, tells its versions."""
    app = ClientApp()

    def threads(client: "Client") -> AbstractContextManager[None]:
        """Give a simulated client as many threads under every engine: its sums' last bits depend on them."""
        from fgl_flower.learning.threads import torch_threads

        return nullcontext() if deployed else torch_threads(client.config.client_cpus)

    def reply(message: Message, context: Context, work: Callable[[], RecordDict]) -> Message:
        if not deployed and (why := _simulated_absence(message, context)):
            who = f"client {context.node_config['partition-id']} in {message.metadata.message_type}"
            return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, f"{who}: {why}"), reply_to=message)
        try:
            content = work()
            if log_file := context.node_config.get("log"):
                note(str(log_file), message, content)
            return Message(content, reply_to=message)
        except Exception as error:  # whatever it is, the server must not wait for the timeout
            return Message(
                Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, describe(error, message, context)), reply_to=message
            )

    @app.query("prompts")
    def query_prompts(message: Message, context: Context) -> Message:
        """Answer a prompt round."""

        def work() -> RecordDict:
            from clients.data import Client
            from clients.private import once
            from clients.prompting import query_prompts
            from clients.voting import released
            from fgl_flower.wire.codec import encode

            client = Client.of(context, keeps=deployed)

            def answer() -> RecordDict:
                return encode(query_prompts(client, message.content, context.state, context.run_id))

            if not client.config.dp_epsilon:
                return answer()
            return once(context.state, released(client.config, message.content), answer)

        return reply(message, context, work)

    @app.query("model")
    def query_model(message: Message, context: Context) -> Message:
        """Take the final model, and acknowledge it: by an empty reply, or by the versions that the node runs."""

        def work() -> RecordDict:
            if not deployed:
                return RecordDict()
            from fgl_flower.records.environment import versions

            return RecordDict({"versions": ConfigRecord(dict(versions()))})

        return reply(message, context, work)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        """Answer a round of federated training."""

        def work() -> RecordDict:
            from clients.data import Client
            from clients.private import guarantee_of
            from clients.private_training import train_with_noise
            from clients.training import train

            client = Client.of(context, keeps=deployed)
            client.policy.permit("training")
            promise = guarantee_of(client)
            with threads(client):
                if promise is None:
                    return train(client, message.content, context.state)
                return train_with_noise(client, promise, message.content, context.state, context.run_id)

        return reply(message, context, work)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        """Answer a round of federated evaluation."""

        def work() -> RecordDict:
            from clients.data import Client
            from clients.evaluation import evaluate
            from clients.private import refuse

            client = Client.of(context, keeps=deployed)
            client.policy.permit("evaluation")
            refuse(client, "losses")
            with threads(client):
                return evaluate(client, message.content)

        return reply(message, context, work)

    @app.evaluate("by_class")
    def evaluate_by_class(message: Message, context: Context) -> Message:
        """Say how the model that was trained on synthetic images does on the client's own."""

        def work() -> RecordDict:
            from clients.data import Client
            from clients.evaluation import evaluate_by_class

            client = Client.of(context, keeps=deployed)
            client.policy.permit("evaluation")
            with threads(client):
                return evaluate_by_class(client, message.content, context.state, context.run_id)

        return reply(message, context, work)

    return app


def _simulated_absence(message: Message, context: Context) -> str:
    if not (context.run_config.get("dropout") or context.run_config.get("straggler-seconds")):
        return ""
    from clients.unreliable import absence

    return absence(message, int(context.node_config["partition-id"]), context.run_config)


def _in_a_line(error: Exception, hide: re.Pattern[str] | None = None) -> str:
    text = " ".join(str(error).split())
    text = hide.sub("<a path>", text) if hide else text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _without_paths(error: Exception, message: Message, context: Context) -> str:
    """Log the whole error for the data owner and return its type and message.

    Paths of the owner's machine are not the server's business.
    """
    log(ERROR, "the client's answer failed: %s", _in_a_line(error), exc_info=error)
    return _in_a_line(error, hide=_PATH)[:500]


def _whole(error: Exception, message: Message, context: Context) -> str:
    """Return which client failed at what, and the traceback."""
    who = f"client {context.node_config.get('partition-id')} in {message.metadata.message_type}"
    return f"{who}: {_in_a_line(error)}\n{''.join(traceback.format_exception(error))}"


app = _build(_without_paths, deployed=True)
simulated = _build(_whole, deployed=False)  # for a run whose clients and server are one and the same person's
