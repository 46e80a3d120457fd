"""`tidegate demo`: the whole life of a model on this machine, told line by line."""
