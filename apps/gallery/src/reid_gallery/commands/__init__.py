"""The commands of `reid-gallery`: each module holds the function of its own name, its arguments the options.

A command's module imports only what its signature needs: `--help` reads it. What does the work is imported
inside the function.
"""
