"""The `llm` command: one module per verb."""
