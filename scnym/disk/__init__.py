"""From raw files to a store, and reading a store back."""
