"""The inference room: requests in, streams of text out, one model with many adapters behind."""
