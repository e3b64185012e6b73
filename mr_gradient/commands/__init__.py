"""The commands of ``mr-gradient``, a module each: ``add`` makes the parser, ``run`` does the work."""
