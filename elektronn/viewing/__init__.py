"""Looking at the volumes of a run: what lies where, in Neuroglancer, in napari, and in plain sections."""
