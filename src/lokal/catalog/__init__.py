"""What a model name means: refs, the registry, quantizations."""
