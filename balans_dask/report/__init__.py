"""Pictures of a correction (needs the plot extra); nothing below imports this."""
