"""Many prompts through one model: rows in, results out."""
