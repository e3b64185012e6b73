"""Strategies: how splits and partitions are spread over tasks, and how updates meet."""
