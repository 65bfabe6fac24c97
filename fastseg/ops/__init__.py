"""One module an op: arrays of numpy, torch or cupy in, results in the same library and on the same device out."""
