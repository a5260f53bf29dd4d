"""Data sets of the chapters, the same split every time.

Toy problems are drawn by NumPy from their own seed, so they do not change with the state of torch, with
the device or with what was drawn before. Nothing here keeps or changes global state. Files are read from,
and downloaded into, the folder that the environment variable ``NTKBOOK_DATA`` names.
"""

from ntkbook.data.bundled import diabetes, digits, mnist
from ntkbook.data.cifar import Images, cifar10, cifar10_images
from ntkbook.data.files import ChecksumError, DataError, DownloadError, data_folder, fetch
from ntkbook.data.split import Split
from ntkbook.data.tables import TABLES, Table, table
from ntkbook.data.targets import one_hot
from ntkbook.data.toy_classes import blobs, moons, spirals
from ntkbook.data.toy_features import single_index, sparse_parity, teacher
from ntkbook.data.toy_regression import circle, curve, sphere

__all__ = [
    "TABLES",
    "ChecksumError",
    "DataError",
    "DownloadError",
    "Images",
    "Split",
    "Table",
    "blobs",
    "cifar10",
    "cifar10_images",
    "circle",
    "curve",
    "data_folder",
    "diabetes",
    "digits",
    "fetch",
    "mnist",
    "moons",
    "one_hot",
    "single_index",
    "sparse_parity",
    "sphere",
    "spirals",
    "table",
    "teacher",
]
