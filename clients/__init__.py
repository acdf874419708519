"""The data owner's end of the wire: ClientApp and its handlers."""
