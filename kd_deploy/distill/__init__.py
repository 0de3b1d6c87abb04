"""Teacher to student. torch lives here."""

import os

# oneDNN keeps what it compiled for each shape, up to 1024 times some megabytes. Batches of every length fill that, and
# hardly ever find their own shape again: over 160 lengths a quarter less memory, in the same time.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
