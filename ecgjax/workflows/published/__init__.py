"""Published weights: their files, the names in them, and their architecture and preprocessing."""
