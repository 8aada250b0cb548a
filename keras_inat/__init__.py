"""keras-inat: how well can a folder of photographs be classified?"""

__version__ = "0.1.0"
