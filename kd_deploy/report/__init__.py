"""Teacher against student: arithmetic, charts, rendering. Reads measurements only."""
