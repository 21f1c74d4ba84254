"""What a picture carries about how it was made."""
