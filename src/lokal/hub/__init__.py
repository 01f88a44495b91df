"""Weights on their way to disk: the only package that talks to the network."""
