"""Free segmentation labels from depth, and the training that turns them into a better segmentation network."""

__version__ = "0.1.0"
