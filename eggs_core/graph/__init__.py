"""The bipartite graph that a mask is: measures, singular values, expansion, and windows to draw."""
