"""Who is asked whose a token is, and how they are spared."""
