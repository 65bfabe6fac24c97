"""Readers: where a data set lies on disk -> frames or labelled images."""
