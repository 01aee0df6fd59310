"""What people read: pages of runs, which need nothing else, and cards of models."""
