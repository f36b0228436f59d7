"""Arms compared over training-set sizes: frames, sentences, tables, figures and a page."""
