"""One module per input format. Each gives a `Source`: gene names, and blocks of cells one after the other."""
