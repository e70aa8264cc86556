"""Tiles, dense prediction, streaming from store to store."""
