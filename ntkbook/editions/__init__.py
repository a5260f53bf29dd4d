"""The book on paper and on a reader: what the PDF and the EPUB need besides the pages."""
