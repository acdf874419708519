"""The server's end of the wire: ServerApp and strategies."""
