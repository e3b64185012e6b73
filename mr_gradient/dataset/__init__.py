"""Data sets on disk: ``dataset.json``, shards, and how raw files become them."""
