"""Which runs are better, and how sure that is: read from run directories, told in a table or on a page."""
