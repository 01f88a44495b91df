"""An honest look at this machine and this installation."""
