"""The foundation: errors, progress, the store's contract and the settings. No files, no torch."""
