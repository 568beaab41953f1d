"""How each wire renders the layers of a prompt. One module a wire."""
