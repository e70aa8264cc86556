"""Old Python configs and old parameter files, read without running them."""
