"""Where and by how many processes tensors are computed."""
