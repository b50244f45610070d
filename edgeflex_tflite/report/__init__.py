"""What people read: lines on the terminal while it runs, and the report in the bundle."""
