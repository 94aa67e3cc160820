"""What users hold: models, streams, snapshots."""
