"""What stands around a network: decoders of its outputs, and loops that feed its outputs back."""
