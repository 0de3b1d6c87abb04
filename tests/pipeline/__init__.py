"""The verbs in their order."""
