"""Label makers: a frame in, a label with its statistics out, or a `FrameError` with the reason it was rejected."""
