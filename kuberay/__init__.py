"""The cluster: manifests, image, and the command that puts them to use."""
