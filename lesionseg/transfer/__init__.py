"""Where a network's first weights come from, and what became of them."""
