"""The machine: cores and memory."""
