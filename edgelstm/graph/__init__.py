"""The Graph: what every model is translated to, and the closed table of its operators."""
