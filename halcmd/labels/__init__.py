"""What is known about labels: who gave them, how sure they are, which particle each belongs to."""
