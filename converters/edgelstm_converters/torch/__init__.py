"""PyTorch files: state dicts saved by `torch.save` or as safetensors."""
