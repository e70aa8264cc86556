"""Streaming counters, ROC and PR curves, confusion."""
