"""Export of models: one file per format, and the program that all of them hold."""
