"""Pages that a person reads: a folder that a run has written in, one HTML file that needs nothing else out."""
