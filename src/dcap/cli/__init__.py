"""Floor 9: the command line. One file per command; each builds a value, `output` alone prints it."""
