"""`gan-lab play`: a web page on this machine, to play with a trained run."""
