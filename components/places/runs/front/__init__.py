"""Prune or quantise: N:M with few bits beside plain bits and llama.cpp's types."""
