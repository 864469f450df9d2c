"""What is done with a compiled program: tasks, in file order, each leaving what it finds for the next."""
