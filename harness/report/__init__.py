"""What a run leaves for people and for other tools: evidence, results.json, JUnit, a summary."""
