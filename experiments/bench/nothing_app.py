"""A Flower app whose clients do nothing: what others are measured against, so it imports Flower alone."""

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.query("nothing")
def nothing(message: Message, context: Context) -> Message:
    """Answer with as little as there is."""
    return Message(RecordDict({"config": ConfigRecord({"n": 1})}), reply_to=message)
