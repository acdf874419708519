"""What both ends of the wire share: configuration, payload, data, synthesis, learning, ledger, reports."""
