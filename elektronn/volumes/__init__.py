"""Volumes on disk: addresses, arrays, registration, boundaries, the volume table."""
