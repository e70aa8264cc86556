"""The network document (plain data), its builder to torch, and weights files."""
