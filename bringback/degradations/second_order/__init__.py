"""The recipe of the second order, and the operations that it draws from."""
