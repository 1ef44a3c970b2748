"""Changed copies of records, to train on. An augmenter takes (record, rng), see `edits`."""
