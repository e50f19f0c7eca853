"""Other methods beside ours, each a program in a process of its own."""
