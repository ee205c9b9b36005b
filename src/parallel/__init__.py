"""Many devices and many processes: the mesh, how arrays lie on it, and how processes meet, agree and end."""
