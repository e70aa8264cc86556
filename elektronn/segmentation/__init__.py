"""From boundary probability to segments."""
