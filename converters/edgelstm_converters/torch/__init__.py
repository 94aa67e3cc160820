"""PyTorch files: state dicts saved by `torch.save` or as safetensors."""

from edgelstm_converters.torch.state_dict import load_state_dict

__all__ = ["load_state_dict"]
