"""PyTorch: state dicts saved by `torch.save` or as safetensors, and live modules."""

from edgelstm_converters.torch.module import load_module
from edgelstm_converters.torch.state_dict import load_state_dict

__all__ = ["load_module", "load_state_dict"]
