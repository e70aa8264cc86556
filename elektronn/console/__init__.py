"""Words (text → command), prompt, socket, attach."""
