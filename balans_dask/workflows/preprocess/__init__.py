"""What people do to profiles before a correction, by plate and by feature."""
