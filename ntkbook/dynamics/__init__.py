"""From a kernel to what training will do."""
