"""The clinical report of the low-label benchmark."""
