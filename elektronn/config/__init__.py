"""One typed tree of the sections that the rooms declare."""
