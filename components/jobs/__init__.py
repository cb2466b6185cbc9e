"""Heavy work: the one queue, the events that watch it, and the messages that tell how it stands."""
