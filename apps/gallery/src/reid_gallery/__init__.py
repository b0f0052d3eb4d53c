"""Using a model: a gallery of people, from images to answers."""

__version__ = "0.1.0"
