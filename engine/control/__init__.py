"""Control by pictures: hints made from pictures (annotators), skeletons, and the arithmetic of regions."""
