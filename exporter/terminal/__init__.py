"""What a person sees while steps run: `display` tells events, `bars` draws, `words` are those of both."""
