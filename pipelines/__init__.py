"""Corpus runs over many workers: every input frame ends as one label row or one rejected row with a reason."""
