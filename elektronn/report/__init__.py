"""Tables in, one HTML page out."""
