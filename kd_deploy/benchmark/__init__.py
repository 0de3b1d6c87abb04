"""Time and memory of any target, each in a process of its own."""
