"""Compares runs: reads run directories, ranks settings with intervals, and shows them in a table or on a page."""
