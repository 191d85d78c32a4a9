"""What each subcommand does, as a plain function in the file of the same name."""
