"""Chapters as plain notebooks for Colab, which renders no MyST: generated, never edited by hand.

``python -m ntkbook.colab`` (``make colab``) writes one self-contained notebook for each chapter. Numbered
equations carry their number as a tag, references become links into the built book, directives become
plain Markdown, and the first cell installs the package where it is missing.
"""

from ntkbook.colab.labels import BookLabels, read_labels
from ntkbook.colab.markdown import plain_markdown
from ntkbook.colab.notebook import colab_notebook

__all__ = ["BookLabels", "colab_notebook", "plain_markdown", "read_labels"]
