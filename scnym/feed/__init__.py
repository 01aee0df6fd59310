"""From a store to batches: which cells, in which order, on which genes."""
