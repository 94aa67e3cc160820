"""How readings come in and predictions go out: thin adapters over one core loop."""
