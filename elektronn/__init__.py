"""Cell boundaries in electron-microscopy volumes; see README.md. Import the rooms by name: this file imports none."""
