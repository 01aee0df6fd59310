"""scnym."""
