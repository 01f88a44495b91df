"""Tokens: requests in, events out, llama.cpp below."""
