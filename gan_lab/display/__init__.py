"""What people see: lines and tables in a terminal, and pictures."""
