"""The prompt language: A1111's grammar, wildcards, styles. Pure Python; no text makes it raise, and it takes linear time."""
