"""The wire format of the prompt round and of models: values, codec, limits, checks."""
