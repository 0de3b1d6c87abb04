"""The verbs in their order. Nothing else knows it; what needs torch is imported by the module that uses it."""
