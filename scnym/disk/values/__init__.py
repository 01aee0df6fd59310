"""What the values of a source are: counts, estimates of counts, or transforms of them that can be undone."""
